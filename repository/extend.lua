-- Moves the expiry of the lock if the token holds it.
--
-- ARGV[3]  token
-- ARGV[4]  by how much, ms
-- ARGV[5]  the longest that a lock may remain, ms
-- ARGV[6]  id of this extension, the same for each attempt at it
--
-- Decides EXTENDED, also where this extension was applied before: the reply then has the
-- expiry that it gave, and seq 0; ENDED: the spool is free, or its owner got another
-- token; OCCUPIED: another token holds it; NO_EXPIRY: the lock never expires; TOO_LONG: it
-- would remain for longer than it may.

-- EXTENSION: 49 bytes, the id and the expiry it gave (13 digits). The newest 64
-- are kept.
local EXTENSION, EXTENSIONS = 49, 64

if value ~= ARGV[3] then
  local ended = how_ended(ARGV[3], redis.call('HGET', KEYS[2], 'ended'))
  if not value or (ended == 'S' and owner_of(value) == owner_of(ARGV[3])) then
    return reply('ENDED', ended)
  end
  return reply('OCCUPIED')
end
local lock = string.format('%016.0f', version)
local applied = redis.call('HGET', KEYS[2], 'extensions') or ''
if string.sub(applied, 1, 16) ~= lock or (#applied - 16) % EXTENSION ~= 0 then
  applied = lock
end
local at = string.find(applied, ARGV[6], 17, true)
if at then
  publish() -- the spool as it stands, if the look at it found it changed
  write_for_replicas()
  changed, expires = false, tonumber(string.sub(applied, at + 36, at + 48))
  seq = 0 -- as it stood once: older than every change
  return reply('EXTENDED')
end
if expires == -1 then
  return reply('NO_EXPIRY')
end
if expires + ARGV[4] - now > tonumber(ARGV[5]) then
  return reply('TOO_LONG')
end

expires = expires + ARGV[4]
changed = true
redis.call('PEXPIREAT', KEYS[1], expires)
refused = false -- a script that has written may go on
record_event('EXTENDED', now, value, expires)
redis.call('HSET', KEYS[2], 'expires', expires, 'extensions',
  lock .. ARGV[6] .. string.format('%013.0f', expires)
  .. string.sub(applied, 17, 16 + (EXTENSIONS - 1) * EXTENSION))
renew_memory()
return reply('EXTENDED')
