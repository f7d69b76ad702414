-- Takes the spool if it is free.
--
-- KEYS[5]  barred tokens, see release.lua
-- ARGV[2]  token
-- ARGV[3]  c: the token was made from a client's request id, s: by the service; its digest, 10
--          bytes; time to live, ms, 15 digits; 1: the worker gets no further lock, 0: it may
--          have one; the version that the spool must have, 15 digits, any: 15 times -; extras
--          of the lock
--
-- Decides TAKEN; REPLAYED: the token holds it already; ENDED- and the kind of its end: the
-- token's lock has ended, or it is barred; OCCUPIED; CONFLICT: it is free, at another version;
-- LIMIT: it is free, and the worker gets no further lock.

--include look.lua
local asked = sub(ARGV[3], 2, 11)
local from, till = '0', '959'
if byte(ARGV[3]) == 99 then
  from, till = '960', '4799'
end
if seen and expires ~= -2 and value ~= ARGV[2] and not find(state, asked, seen, true) then
  local has = find(state, '^000', seen + 4) and '' or redis.pcall('GETRANGE', KEYS[4], from, till)
  if type(has) ~= 'string' or not find(has, asked, 1, true) then
    return 'OCCUPIED ' .. now_text .. ' ' .. sub(state, 1, seen - 1)
  end
end
--include spool.lua
--include fate.lua
if value == ARGV[2] then
  decision = 'REPLAYED'
--include write_for_replicas.lua
elseif ended then
  decision = 'ENDED-' .. ended
elseif expires ~= -2 then
  decision = 'OCCUPIED'
else
  local barred = redis.pcall('GETRANGE', KEYS[5], '0', '1279')
  if type(barred) == 'string' and find(barred, asked, 1, true) then
    decision = 'ENDED-R'
  else
    if byte(ARGV[3], 28) ~= 45 and sub(ARGV[3], 28, 42) ~= version then
      decision = 'CONFLICT'
    elseif byte(ARGV[3], 27) == 49 then
      decision = 'LIMIT'
    else
      decision = 'TAKEN'
      expires = now + tonumber(sub(ARGV[3], 12, 26))
      value, of_lock = ARGV[2], now_text .. sub(ARGV[3], 43)
      local kind = 'T'
--include next_version.lua
--include continue.lua
      mark, block = value, sub(ARGV[3], 1, 11) .. NO_EXTENSION
      call('SET', KEYS[1], value, 'NX', 'PXAT', expires < 1e13 and sub(ends, 3) or format('%d', expires))
    end
  end
end
--include answer.lua
