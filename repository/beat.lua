-- Publishes a beat on the channel ARGV[1]: a JSON array of texts, the id ARGV[2] and
-- now, ms.

local clock = redis.call('TIME')
return redis.call('PUBLISH', ARGV[1], cjson.encode({ARGV[2],
  string.format('%.0f', clock[1] * 1000 + math.floor(clock[2] / 1000))}))
