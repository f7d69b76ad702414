-- Puts another token in the place of the one that holds the worker's lock.
--
-- ARGV[3]  id of the worker
-- ARGV[4]  the token, which names that worker
--
-- Decides RESUMED; REPLAYED: the token holds the spool already; ENDED: nobody holds
-- the spool, or the token's lock has ended; OCCUPIED: somebody else holds it, or it
-- was not taken here.

if value == ARGV[4] then
  touch()
  return reply('REPLAYED')
end
local ended = fate(ARGV[4], redis.call('HGET', KEYS[2], 'ended'))
if ended or not value then
  return reply('ENDED', ended)
end
if owner(value) ~= ARGV[3] or acquired == '' then
  return reply('OCCUPIED')
end

redis.call('SET', KEYS[1], ARGV[4], 'XX', 'KEEPTTL')
refused = false -- a script that has written may go on
write('HSET', KEYS[2], 'ended', ending(value, 'S', now, '............'))
grow()
value, mark = ARGV[4], ARGV[4]
open('RESUMED')
keep()
return reply('RESUMED')
