-- Moves the expiry of the lock if the token holds it.
--
-- ARGV[3]  token
-- ARGV[4]  its digest
-- ARGV[5]  by how much, ms
-- ARGV[6]  the longest that a lock may remain, ms
-- ARGV[7]  digest of the id of this extension, the same for each attempt at it, as 20
--          hexadecimal digits
-- ARGV[8]  c: the id is a client's request id; s: the service made it
-- ARGV[9]  how long ago the first attempt was sent, ms; 0: this is the first
--
-- Decides EXTENDED; EXTENDED- and an expiry, ms: this extension was applied before, and gave
-- that; ENDED- and the kind of its end, if it is remembered: the spool is free, or its owner
-- got another token; OCCUPIED: another token holds it; NO_EXPIRY: the lock never expires;
-- TOO_LONG: it would remain for longer than it may; FORGOTTEN: whether an earlier attempt was
-- applied is not remembered.

--include look.lua
--include spool.lua
if value ~= ARGV[3] or expires == -2 then
--include fate.lua
  if expires == -2 or ended == 'S' and match(value, '^[^:]*') == match(ARGV[3], '^[^:]*') then
    decision = 'ENDED-' .. (ended or '')
  else
    decision = 'OCCUPIED'
  end
else
  local made = #block > 36 and find(block, ';', 37, true)
  local at = made and find(block, ARGV[7], 37, true)
  local by = tonumber(ARGV[5])
  local gave = at and match(sub(block, at + 28, at + 39), '^%x%x%x%x%x%x%x%x%x%x%x%x$')
  gave = gave and tonumber(gave, 16)
  if at and not (gave and gave <= $LATEST) and expires ~= -1 then
    gave = expires -- it was applied, and what it gave is damaged
  end
  if gave then
    decision = format('EXTENDED-%d', gave)
--include write_for_replicas.lua
  elseif ARGV[9] ~= '0' and now - ARGV[9] <= (tonumber(sub(block, 22, 36)) or 0) then
    decision = 'FORGOTTEN'
  elseif expires == -1 then
    decision = 'NO_EXPIRY'
  elseif expires + by - now > tonumber(ARGV[6]) then
    decision = 'TOO_LONG'
  else
    decision = 'EXTENDED'
    expires = expires + by
    local kind, version_text = 'N', sub(line, 17, 31)
--include continue.lua
    call('PEXPIREAT', KEYS[1], expires < 1e13 and sub(ends, 3) or format('%d', expires))
    local extension = ARGV[7] .. format('%08x%012x', now / 1000, expires)
    if not made then
      block, made = NO_BLOCK, 37 -- it was damaged
    end
    local before_list, list_ends = 36, made - 1
    if ARGV[8] == 'c' then
      before_list, list_ends = made, #block
    end
    local kept = sub(block, before_list + 1)
    if list_ends - before_list > 600 then -- the oldest is forgotten, and so is whether those before it were applied
      local forgotten = tonumber(sub(kept, 621, 628), 16) or 0
      block = sub(block, 1, 21) .. format('%015d', math.max(forgotten * 1000 + 999, tonumber(sub(block, 22, 36)) or 0)) .. sub(block, 37)
      kept = sub(kept, 1, 600) .. sub(block, list_ends + 1)
    end
    block = sub(block, 1, before_list) .. extension .. kept
  end
end
--include answer.lua
