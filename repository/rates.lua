-- Draws units from a bucket that is filled again at a steady rate.
--
-- KEYS[1]  when the bucket will be full, Unix time in ms on the clock of this server;
--          absent: it is full
-- ARGV[1]  units that were drawn
-- ARGV[2]  units that it gets in a second
-- ARGV[3]  units for which it has room
--
-- Returns how many units are left, cut to a whole number; below 0 where more were drawn
-- than there were, down to ten times the room: a damaged number does not last.

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local full = tonumber(redis.call('GET', KEYS[1]) or 0) or 0
if full ~= full then
  full = 0 -- no number
end
full = math.min(math.max(full, now) + ARGV[1] * 1000 / ARGV[2], now + 11 * ARGV[3] * 1000 / ARGV[2])
redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', string.format('%.0f', math.max(1, full - now)))
return math.floor(ARGV[3] - (full - now) * ARGV[2] / 1000)
