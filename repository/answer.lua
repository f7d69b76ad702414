-- Saves and publishes what changed, and returns.

if changed then
  local set, till = 'PSETEX', byte(ARGV[1]) == 45 and sub(ARGV[1], 2) or ARGV[1]
  if (#till < 10 or expires - now > 9e8) and expires + DAY - now > tonumber(till) then
    set, till = 'SET', format('%d', expires + DAY)
  end
  if before > 800 or #line + #block + #rest > 8000 then
    local older, lists = sub(rest, 1, before), sub(rest, before + 2)
    if older ~= '' then
--include history_entry.lua
    end
    -- What is behind the lists may be more than there is room for.
    rest, before = sub(older .. '\n' .. lists, 1, math.max(0, 8174 - #mark - #line - #block)), #older
  end
  if #rest > before + 8 and find(rest, '000', before + 9, true) ~= before + 9 then -- the history has events
    if expires == -1 then
      redis.pcall('PERSIST', KEYS[3])
    else
      redis.pcall(set == 'SET' and 'PEXPIREAT' or 'PEXPIRE', KEYS[3], till)
    end
  end
  state = ends .. mark .. '\n' .. line .. '\n' .. block .. '\n' .. rest
  local saved
  if expires == -1 then -- until a script finds the lock gone
    saved = redis.pcall('SET', KEYS[2], state)
  elseif set == 'SET' then
    saved = redis.pcall('SET', KEYS[2], state, 'PXAT', till)
  else
    saved = redis.pcall('PSETEX', KEYS[2], till, state)
  end
  if saved.err then
    -- A Redis that is full, or cannot write to its disk, answers all the same who holds
    -- what: then nothing is recorded, and the next look finds the same.
    if not find(saved.err, 'OOM', 1, true) and not find(saved.err, 'MISCONF', 1, true) then
      error(saved.err)
    end
    line = sub(line, 1, 31) .. format('%09d', seq) .. sub(line, 41)
  end
  -- A user who may not publish can work all the same: beats need the same right, so no
  -- view then takes itself for live.
  redis.pcall('PUBLISH', ARGV[2], KEYS[1] .. '\n' .. line)
end
local answer = decision .. ' ' .. clock[1] .. ' ' .. clock[2] .. ' ' .. ends .. value .. '\n' .. line
return more and {answer, more, further} or answer
