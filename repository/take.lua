-- Takes the spool if it is free.
--
-- ARGV[2]  token
-- ARGV[3]  time to live, ms
-- ARGV[4]  owner's name
-- ARGV[5]  note; empty: none
-- ARGV[6]  version the spool must have; empty: any
--
-- Decides TAKEN; REPLAYED: the token holds it already; ENDED: the token's lock
-- has ended, or it is barred; OCCUPIED; CONFLICT: it is free, at another version.

if value == ARGV[2] then
  return reply('REPLAYED')
end
local lists = redis.call('HMGET', KEYS[2], 'ended', 'barred')
local ended = fate(ARGV[2], lists[1])
if ended then
  return reply('ENDED', ended)
end
if lists[2] and string.find(lists[2], redis.sha1hex(ARGV[2]), 1, true) then
  return reply('ENDED', 'R')
end
if value then
  return reply('OCCUPIED')
end
if ARGV[6] ~= '' and tonumber(ARGV[6]) ~= version then
  return reply('CONFLICT')
end

grow()
value, mark, expires, acquired, name, note = ARGV[2], ARGV[2], now + ARGV[3], now, ARGV[4], ARGV[5]
redis.call('SET', KEYS[1], value, 'NX', 'PXAT', expires)
open()
keep()
return reply('TAKEN')
