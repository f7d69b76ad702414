-- Takes the spool if it is free.
--
-- ARGV[3]  token
-- ARGV[4]  time to live, ms
-- ARGV[5]  owner's name
-- ARGV[6]  note; empty: none
-- ARGV[7]  version the spool must have; empty: any
-- ARGV[8]  1: the worker gets no further lock; 0: it may have one
--
-- Decides TAKEN; REPLAYED: the token holds it already; ENDED: the token's lock
-- has ended, or it is barred; OCCUPIED; CONFLICT: it is free, at another version;
-- LIMIT: it is free, and the worker gets no further lock.

if value == ARGV[3] then
  write_for_replicas()
  return reply('REPLAYED')
end
local lists = redis.call('HMGET', KEYS[2], 'ended', 'barred')
local ended = how_ended(ARGV[3], lists[1])
if ended then
  return reply('ENDED', ended)
end
if lists[2] and string.find(lists[2], redis.sha1hex(ARGV[3]), 1, true) then
  return reply('ENDED', 'R')
end
if value then
  return reply('OCCUPIED')
end
if ARGV[7] ~= '' and tonumber(ARGV[7]) ~= version then
  return reply('CONFLICT')
end
if ARGV[8] == '1' then
  return reply('LIMIT')
end

raise_version()
value, stored, expires, acquired, name, note = ARGV[3], ARGV[3], now + ARGV[4], now, ARGV[5], ARGV[6]
redis.call('SET', KEYS[1], value, 'NX', 'PXAT', expires)
record_lock('TAKEN')
renew_memory()
return reply('TAKEN')
