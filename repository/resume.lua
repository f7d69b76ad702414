-- Puts another token in the place of the one that holds the worker's lock.
--
-- ARGV[2]  the token, which names the worker
-- ARGV[3]  c: the token was made from a client's request id, s: by the service; its digest, 10
--          bytes
-- ARGV[4]  id of the worker
--
-- Decides RESUMED; REPLAYED: the token holds the spool already; ENDED- and the kind of its
-- end, if it is remembered: the spool is free, or the token's lock has ended; OCCUPIED: another
-- worker holds it, or it was not taken here.

--include look.lua
--include spool.lua
local asked, from, till = sub(ARGV[3], 2), '0', '4799'
--include fate.lua
if value == ARGV[2] then
  decision = 'REPLAYED'
--include write_for_replicas.lua
elseif ended or expires == -2 then
  decision = 'ENDED-' .. (ended or '')
elseif match(value, '^([^:]*):') ~= ARGV[4] or sub(block, 1, 1) == '-' then
  decision = 'OCCUPIED'
else
  decision = 'RESUMED'
  call('SET', KEYS[1], ARGV[2], 'XX', 'KEEPTTL')
  local how, at = 'S', now
--include token_digest.lua
--include remember.lua
  local kind = 'M'
--include next_version.lua
--include continue.lua
  value, mark, block = ARGV[2], ARGV[2], ARGV[3] .. NO_EXTENSION
end
--include answer.lua
