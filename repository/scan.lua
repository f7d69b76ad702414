-- Looks at a part of all locks.
--
-- ARGV[1]  where to go on: what the part before it returned; 0: at the beginning
-- ARGV[2]  the pattern of the locks' keys
-- ARGV[3]  about how many keys Redis looks at
--
-- Returns where to go on, the time, ms, and three values for each lock: its key, the first 641
-- bytes of its value, and when it expires, ms; -1: never. What is no string is left out, and in
-- a Cluster so is what is being moved to another master.

local scanned = redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3])
local clock = redis.call('TIME')
local found, n = {scanned[1], clock[1] * 1000 + math.floor(clock[2] / 1000)}, 2
for _, key in ipairs(scanned[2]) do
  local value = redis.pcall('GETRANGE', key, '0', '640')
  local expires = redis.pcall('PEXPIRETIME', key)
  if type(value) == 'string' and type(expires) == 'number' and expires >= -1 then
    found[n + 1], found[n + 2], found[n + 3] = key, value, math.min(expires, $LATEST)
    n = n + 3
  end
end
return found
