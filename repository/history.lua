-- Reads the spool with its history. Decides FREE or HELD. The eleventh value is the
-- history.

local answer = reply(value and 'HELD' or 'FREE')
answer[11] = redis.call('LRANGE', KEYS[3], 0, -1)
return answer
