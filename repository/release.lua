-- Releases the spool if the token holds it.
--
-- KEYS[5]  barred tokens: a string of their digests, newest first, with an hour to live
-- ARGV[2]  token
-- ARGV[3]  its digest, 10 bytes; 1: bar the token from a later take if nothing is known of it,
--          0: do not; what the event adds to the extras of the lock: ,"by": the id of this
--          release, the same for each attempt at it, and ,"done": its note, if it has one
--
-- Decides RELEASED; ENDED- and the kind of its end: the token's lock had ended before;
-- UNKNOWN: nothing is remembered of the token. The spool is as it stands afterwards.

--include look.lua
--include spool.lua
if value == ARGV[2] and expires ~= -2 then
  call('DEL', KEYS[1])
  decision, value, expires = 'RELEASED', '', -2
  local how, at, added, digest = 'R', now, sub(ARGV[3], 12), sub(ARGV[3], 1, 10)
--include close.lua
else
  local asked, from, till = sub(ARGV[3], 1, 10), '0', '4799'
--include fate.lua
  decision = ended and 'ENDED-' .. ended or 'UNKNOWN'
  if ended == 'R' then
    -- An attempt at this release may have ended it, whose event is among the newest then.
    local newest = redis.pcall('GETRANGE', KEYS[3], '-2600', '-1')
    if find((type(newest) == 'string' and newest or '') .. older, match(ARGV[3], '"by":"[^"]*"', 12), 1, true) then
      decision = 'RELEASED'
    end
  elseif not ended and byte(ARGV[3], 11) == 49 then
    -- A take that Redis runs later than in an hour is not to be expected.
    local barred = redis.pcall('GETRANGE', KEYS[5], '0', '1269')
    call('SET', KEYS[5], asked .. (type(barred) == 'string' and barred or ''), 'PX', '3600000')
  end
end
--include answer.lua
