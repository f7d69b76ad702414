-- Reads the spool with its history. Decides FREE or HELD. Returns the older lines, and the
-- newest ARGV[3] entries of the history, all of which have the newest ARGV[3] lines at
-- least.

--include look.lua
--include spool.lua
decision = expires == -2 and 'FREE' or 'HELD'
local entries = redis.pcall('LRANGE', KEYS[3], '0', format('%d', ARGV[3] - 1))
more, further = sub(rest, 1, before), entries.err and {} or entries
--include answer.lua
