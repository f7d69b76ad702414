-- Releases the spool if the token holds it.
--
-- ARGV[2]  token
-- ARGV[3]  id of this release, the same for each attempt at it
-- ARGV[4]  '1': bar the token from a later take, even if it is not known
--
-- Decides RELEASED; ENDED: the token's lock had ended before; UNKNOWN: nothing is
-- remembered of the token. The rest of the reply is the spool as it stands
-- afterwards.

if value == ARGV[2] then
  redis.call('DEL', KEYS[1])
  value, expires, acquired, name, note = false, 0, '', '', ''
  close(ARGV[2], 'R', now, ARGV[3])
  keep()
  return reply('RELEASED')
end
local ended, release = fate(ARGV[2])
if ended == 'R' and release == string.sub(ARGV[3], -12) then
  return reply('RELEASED')
end
if ended then
  return reply('ENDED', ended)
end
if ARGV[4] == '1' then
  redis.call('HSET', KEYS[2], 'ended', remember(ARGV[2], 'R', now, ARGV[3]))
  keep()
end
return reply('UNKNOWN')
