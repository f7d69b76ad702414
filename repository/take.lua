-- Takes the spool if it is free.
--
-- KEYS[4]  barred tokens, see release.lua
-- ARGV[3]  token
-- ARGV[4]  its digest
-- ARGV[5]  block of the lock, 37 bytes, and its extras
-- ARGV[6]  time to live, ms, a comma, 1: the worker gets no further lock, 0: it may have one, a
--          comma, the version that the spool must have, empty: any
--
-- Decides TAKEN; REPLAYED: the token holds it already; ENDED- and the kind of its end: the
-- token's lock has ended, or it is barred; OCCUPIED; CONFLICT: it is free, at another version; LIMIT: it
-- is free, and the worker gets no further lock.

--include look.lua
if seen and expires ~= -2 and value ~= ARGV[3] and not find(state, ARGV[4], seen, true) then
  return 'OCCUPIED ' .. clock[1] .. ' ' .. clock[2] .. ' ' .. sub(state, 1, seen - 1)
end
--include spool.lua
--include fate.lua
if value == ARGV[3] then
  decision = 'REPLAYED'
--include write_for_replicas.lua
elseif ended then
  decision = 'ENDED-' .. ended
elseif expires ~= -2 then
  decision = 'OCCUPIED'
else
  local barred = redis.pcall('GETRANGE', KEYS[4], '0', '1279')
  if type(barred) == 'string' and find(barred, ARGV[4], 1, true) then
    decision = 'ENDED-R'
  else
    local ttl, limit, expected = match(ARGV[6], '^(%d+),(%d),(%d*)')
    if expected ~= '' and tonumber(expected) ~= version then
      decision = 'CONFLICT'
    elseif limit == '1' then
      decision = 'LIMIT'
    else
      decision = 'TAKEN'
      expires = now + ttl
      version, value, of_lock = version < now and now or version + 1, ARGV[3], now_text .. sub(ARGV[5], 38)
      local kind, version_text = 'T', version == now and now_text or format('%015d', version)
--include continue.lua
      mark, block = value, sub(ARGV[5], 1, 37)
      call('SET', KEYS[1], value, 'NX', 'PXAT', expires < 1e13 and sub(ends, 3) or format('%d', expires))
    end
  end
end
--include answer.lua
