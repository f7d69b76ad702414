-- Releases the spool if the token holds it.
--
-- KEYS[4]  barred tokens: a string of their digests, newest first, with an hour to live
-- ARGV[3]  token
-- ARGV[4]  its digest
-- ARGV[5]  what the event adds to the extras of the lock: ,"by": the id of this release, the
--          same for each attempt at it, and ,"done": its note, if it has one
-- ARGV[6]  1: bar the token from a later take if nothing is known of it
--
-- Decides RELEASED; ENDED- and the kind of its end: the token's lock had ended before;
-- UNKNOWN: nothing is remembered of the token. The spool is as it stands afterwards.

--include look.lua
--include spool.lua
if value == ARGV[3] and expires ~= -2 then
  call('DEL', KEYS[1])
  decision, value, expires = 'RELEASED', '', -2
  local how, at, added, digest = 'R', now, ARGV[5], ARGV[4]
--include close.lua
else
--include fate.lua
  decision = ended and 'ENDED-' .. ended or 'UNKNOWN'
  if ended == 'R' then
    -- An attempt at this release may have ended it, whose event is among the newest then.
    local newest = redis.pcall('LINDEX', KEYS[3], '0')
    if find(sub(rest, 1, before) .. (type(newest) == 'string' and newest or ''), match(ARGV[5], '"by":"[^"]*"'), 1, true) then
      decision = 'RELEASED'
    end
  elseif not ended and ARGV[6] == '1' then
    -- A take that Redis runs later than in an hour is not to be expected.
    local barred = redis.pcall('GETRANGE', KEYS[4], '0', '1269')
    call('SET', KEYS[4], ARGV[4] .. (type(barred) == 'string' and barred or ''), 'PX', '3600000')
  end
end
--include answer.lua
