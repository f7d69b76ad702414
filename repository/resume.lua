-- Puts another token in the place of the one that holds the worker's lock.
--
-- ARGV[3]  the token, which names the worker
-- ARGV[4]  its digest
-- ARGV[5]  id of the worker
-- ARGV[6]  block of the lock with this token
--
-- Decides RESUMED; REPLAYED: the token holds the spool already; ENDED- and the kind of its
-- end, if it is remembered: the spool is free, or the token's lock has ended; OCCUPIED: another
-- worker holds it, or it was not taken here.

--include look.lua
--include spool.lua
--include fate.lua
if value == ARGV[3] then
  decision = 'REPLAYED'
--include write_for_replicas.lua
elseif ended or expires == -2 then
  decision = 'ENDED-' .. (ended or '')
elseif match(value, '^([^:]*):') ~= ARGV[5] or sub(block, 1, 1) == '-' then
  decision = 'OCCUPIED'
else
  decision = 'RESUMED'
  call('SET', KEYS[1], ARGV[3], 'XX', 'KEEPTTL')
  local how, at = 'S', now
--include token_digest.lua
--include lists.lua
--include remember.lua
  rest = sub(rest, 1, before + 1) .. lists
  version = version < now and now or version + 1
  local kind, version_text = 'M', format('%015d', version)
--include continue.lua
  value, mark, block = ARGV[3], ARGV[3], ARGV[6]
end
--include answer.lua
