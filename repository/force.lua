-- Ends the lock of any holder, if it is the one that was seen.
--
-- ARGV[2]  version that the lock must have, 15 digits
-- ARGV[3]  digest of the id of this forced release, the same for each attempt at it
-- ARGV[4]  what the event adds to the extras of the lock: ,"actor": who forces it and
--          ,"reason": why; after ,"held": the version of the lock
--
-- Decides FORCED; REPLAYED: this forced release was applied before, and its event is still
-- there; ENDED: the spool is free; CONFLICT: its lock has another version. Returns the LINE
-- of the event, of FORCED and REPLAYED.

--include look.lua
--include spool.lua
local forced = byte(counts, 3) - 48
local first = (byte(counts, 1) + byte(counts, 2) - 96) * 15
for i = first, first + (forced - 1) * 25, 25 do
  if sub(lists, i + 1, i + 10) == ARGV[3] then
    local events = redis.pcall('GETRANGE', KEYS[3], '-32768', '-1')
    events = (type(events) == 'string' and events or '') .. older
    local digits = string.rep('%d', 15)
    local seen_version = match(sub(lists, i + 11, i + 25), digits)
    local from, till
    if seen_version and seen_version <= '$LATEST' then
      from, till = find(events, '\nF' .. digits .. seen_version .. sub(digits, 1, 18) .. string.rep('[^\n]', 30) .. '[^\n]*')
    end
    if from then
      decision, more = 'REPLAYED', sub(events, from + 1, till)
    end
    break
  end
end
if decision then
  -- it was applied before
elseif expires == -2 then
  decision = 'ENDED'
elseif version ~= ARGV[2] then
  decision = 'CONFLICT'
else
  decision = 'FORCED'
  call('UNLINK', KEYS[1])
  value, expires = '', -2
  local how, at, added = 'F', now, format(',"held":%d', tonumber(version)) .. ARGV[4]
--include token_digest.lua
--include close.lua
  first = (byte(counts, 1) + byte(counts, 2) - 96) * 15
  lists = sub(lists, 1, first) .. ARGV[3] .. version .. sub(lists, first + 1, first + math.min(forced, 3) * 25)
    .. sub(lists, first + 1 + forced * 25)
  counts = sub(counts, 1, 2) .. string.char(math.min(forced + 1, 4) + 48) .. sub(counts, 4)
  more = ended_line
end
--include answer.lua
