-- Ends the lock, whoever holds it, if it is the one that was seen.
--
-- ARGV[3]  version that the lock must have
-- ARGV[4]  digest of the id of this forced release, the same for each attempt at it
-- ARGV[5]  what the event adds to the extras of the lock: ,"actor": who forces it and
--          ,"reason": why; after ,"held": the version of the lock
--
-- Decides FORCED; REPLAYED: this forced release was applied before, and its event is still
-- there; ENDED: the spool is free; CONFLICT: its lock has another version. Returns the LINE
-- of the event, of FORCED and REPLAYED.

--include look.lua
--include spool.lua
--include lists.lua
local forced = tonumber(sub(lists, 7, 7))
local first = 15 + (tonumber(sub(lists, 1, 3)) + tonumber(sub(lists, 4, 6))) * 15
for i = first, first + (forced - 1) * 25, 25 do
  if sub(lists, i + 1, i + 10) == ARGV[4] then
    local entries = redis.pcall('LRANGE', KEYS[3], '0', '101')
    local events = '\n' .. sub(rest, 1, before) .. (entries.err and '' or table.concat(entries))
    local digits = string.rep('%d', 15)
    local seen_version = match(sub(lists, i + 11, i + 25), digits)
    local from, till
    if seen_version and tonumber(seen_version) <= $LATEST then
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
elseif version ~= tonumber(ARGV[3]) then
  decision = 'CONFLICT'
else
  decision = 'FORCED'
  call('UNLINK', KEYS[1])
  value, expires = '', -2
  local how, at, added = 'F', now, format(',"held":%d', version) .. ARGV[5]
--include token_digest.lua
--include close.lua
  lists = sub(rest, before + 2)
  first = 15 + (tonumber(sub(lists, 1, 3)) + tonumber(sub(lists, 4, 6))) * 15
  lists = sub(lists, 1, 6) .. math.min(forced + 1, 4) .. sub(lists, 8, first) .. ARGV[4] .. format('%015d', version)
    .. sub(lists, first + 1, first + math.min(forced, 3) * 25) .. sub(lists, first + 1 + forced * 25)
  rest = sub(rest, 1, before + 1) .. lists
  more = match(rest, '^[^\n]*')
end
--include answer.lua
