-- Moves the expiry of the lock if the token holds it.
--
-- ARGV[2]  token
-- ARGV[3]  its digest, 10 bytes; digest of the id of this extension, the same for each attempt
--          at it, 10; c: the id is a client's request id, s: the service made it; by how much,
--          ms; a comma, the longest that a lock may remain, ms; a comma, how long ago the first
--          attempt was sent, ms, 0: this is the first
--
-- Decides EXTENDED; EXTENDED- and an expiry, ms: this extension was applied before, and gave
-- that; ENDED- and the kind of its end, if it is remembered: the spool is free, or its owner
-- got another token; OCCUPIED: another token holds it; NO_EXPIRY: the lock never expires;
-- TOO_LONG: it would remain for longer than it may; FORGOTTEN: whether an earlier attempt was
-- applied is not remembered.

--include look.lua
--include spool.lua
if value ~= ARGV[2] or expires == -2 then
  local asked, from, till = sub(ARGV[3], 1, 10), '0', '4799'
--include fate.lua
  if expires == -2 or ended == 'S' and match(value, '^[^:]*') == match(ARGV[2], '^[^:]*') then
    decision = 'ENDED-' .. (ended or '')
  else
    decision = 'OCCUPIED'
  end
else
  local id = sub(ARGV[3], 11, 20)
  local at = #block > 28 and find(block, id, 29, true)
  local by, longest, ago = match(ARGV[3], '^(%d+),(%d+),(%d+)', 22)
  local gave = at and match(sub(block, at + 25, at + 39), '^%d%d%d%d%d%d%d%d%d%d%d%d%d%d%d$')
  gave = gave and tonumber(gave)
  if at and not (gave and gave <= $LATEST) then
    gave = expires ~= -1 and expires -- it was applied, and what it gave is damaged
  end
  if gave then
    decision = format('EXTENDED-%d', gave)
--include write_for_replicas.lua
  elseif ago ~= '0' and now - ago <= (tonumber(sub(block, 12, 26)) or 0) then
    decision = 'FORGOTTEN'
  elseif expires == -1 then
    decision = 'NO_EXPIRY'
  elseif expires + by - now > tonumber(longest) then
    decision = 'TOO_LONG'
  else
    decision = 'EXTENDED'
    expires = expires + by
    local kind = 'N'
--include continue.lua
    call('PEXPIREAT', KEYS[1], expires < 1e13 and sub(ends, 3) or format('%d', expires))
    -- place: of the letter that says how many there are; first: what is before them.
    local place, first = 27, 28
    if byte(ARGV[3], 21) == 99 then
      place, first = 28, 28 + (byte(block, 27) - 65) * 40
    end
    local has, forgotten = byte(block, place) - 65, sub(block, 12, 26)
    local kept = sub(block, first + 1)
    if has == 16 then -- the oldest is forgotten, and so is whether those before it were applied
      local oldest = sub(kept, 611, 625)
      forgotten = oldest > forgotten and oldest or forgotten
      kept, has = sub(kept, 1, 600) .. sub(kept, 641), 15
    end
    block = sub(block, 1, 11) .. forgotten .. sub(block, 27, place - 1) .. string.char(has + 66) .. sub(block, place + 1, first)
      .. id .. now_text .. ends .. kept
  end
end
--include answer.lua
