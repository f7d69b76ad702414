-- Puts another token in the place of the one that holds the worker's lock.
--
-- ARGV[3]  id of the worker
-- ARGV[4]  the token, which names that worker
--
-- Decides RESUMED; REPLAYED: the token holds the spool already; ENDED: the spool is free,
-- or the token's lock has ended; OCCUPIED: another worker holds it, or it was not taken by
-- these scripts.

if value == ARGV[4] then
  write_for_replicas()
  return reply('REPLAYED')
end
local ended = how_ended(ARGV[4], redis.call('HGET', KEYS[2], 'ended'))
if ended or not value then
  return reply('ENDED', ended)
end
if owner_of(value) ~= ARGV[3] or acquired == '' then
  return reply('OCCUPIED')
end

redis.call('SET', KEYS[1], ARGV[4], 'XX', 'KEEPTTL')
refused = false -- a script that has written may go on
write('HSET', KEYS[2], 'ended', add_ended(value, 'S', now, '............'))
raise_version()
value, stored = ARGV[4], ARGV[4]
record_lock('RESUMED')
renew_memory()
return reply('RESUMED')
