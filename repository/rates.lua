-- Draws units from a bucket that is filled again at a steady rate.
--
-- KEYS[1]  the time of the last draw, Unix time in ms on the clock of this server, a space, and
--          in how many ms from then the bucket is full; absent or anything else: it is full
-- ARGV[1]  units that were drawn
-- ARGV[2]  units that it gets in a second
-- ARGV[3]  units for which it has room
--
-- Returns how many units are left, cut to a whole number; below 0 where more were drawn
-- than there were, down to ten times the room: a damaged number does not last.

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local drawn = redis.pcall('GET', KEYS[1])
local at, missing = string.match(type(drawn) == 'string' and drawn or '', '^(%d+) (%d+)$')
if at then
  missing = math.max(0, missing - math.max(0, now - at)) -- a clock that was set back has not gone on
else
  missing = 0
end
missing = math.min(missing + ARGV[1] * 1000 / ARGV[2], 11 * ARGV[3] * 1000 / ARGV[2])
redis.call('SET', KEYS[1], string.format('%.0f %.0f', now, missing), 'PX', string.format('%.0f', math.max(1, missing)))
return math.floor(ARGV[3] - missing * ARGV[2] / 1000)
