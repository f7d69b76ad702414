-- Releases the spool if the token holds it.
--
-- ARGV[3]  token
-- ARGV[4]  id of this release, the same for each attempt at it
-- ARGV[5]  '1': bar the token from a later take if nothing is known of it
--
-- Decides RELEASED; ENDED: the token's lock had ended before; UNKNOWN: nothing is
-- remembered of the token. The rest of the reply is the spool as it stands
-- afterwards.

-- BAR: 53 bytes, when (13 digits) and SHA-1 of the token. Bars have a list of their
-- own, so that they push no ended token out. They last until the next bar after an
-- hour: a take that Redis runs later than that is not to be expected.
local BAR, BARS, HOUR = 53, 128, 3600000

if value == ARGV[3] then
  redis.call('DEL', KEYS[1])
  refused = false -- a script that has written may go on
  record_end(ARGV[3], 'R', now, ARGV[4])
  value, expires, acquired, name, note = false, 0, '', '', ''
  renew_memory()
  return reply('RELEASED')
end
local ended, release = how_ended(ARGV[3], redis.call('HGET', KEYS[2], 'ended'))
if ended == 'R' and release == string.sub(ARGV[4], -12) then
  return reply('RELEASED')
end
if ended then
  return reply('ENDED', ended)
end
if ARGV[5] == '1' then
  local others = prune(redis.call('HGET', KEYS[2], 'barred'), BAR, 1, BARS, HOUR)
  redis.call('HSET', KEYS[2], 'barred', string.format('%013.0f', now) .. redis.sha1hex(ARGV[3]) .. others)
  renew_memory()
end
return reply('UNKNOWN')
