-- Saves and publishes what changed, and returns.

if changed then
  local space = find(ARGV[1], ' ', 1, true)
  if older ~= '' and (byte(counts, 7) == 49 or #older > 800 or #line + #block + #older + #lists > 8000) then
--include append_to_history.lua
  end
  local room = 8155 - #mark - #line - #block - #older
  if #lists > room then
    lists = sub(lists, 1, math.max(0, room)) -- what is behind them may be more than there is room for
  end
  -- State and history are given their time to live once in 10,000 s, and that much more. A
  -- lock that expires later, or never, is not forgotten before.
  local ttl, option = sub(ARGV[1], byte(ARGV[1]) == 45 and 2 or 1, space - 1), 'PX'
  local given = sub(now_text, 3, 8)
  if expires == -1 then
    option, given = nil, '000000'
  elseif (space < 11 or expires - now > 9e8) and expires + DAY - now > tonumber(ttl) then
    ttl, option, given = format('%d', expires + DAY), 'PXAT', '000000'
  elseif find(counts, given, 8, true) == 8 then
    option = 'KEEPTTL'
  end
  if option ~= 'KEEPTTL' then
    counts = sub(counts, 1, 7) .. given
  end
  state = ends .. mark .. '\n' .. line .. '\n' .. counts .. block .. older .. '\n\n' .. lists
  local saved
  if option == 'KEEPTTL' then
    saved = redis.pcall('SET', KEYS[2], state, 'KEEPTTL')
  elseif option then
    saved = redis.pcall('SET', KEYS[2], state, option, ttl)
    if byte(counts, 7) == 49 then
      redis.pcall(option == 'PX' and 'PEXPIRE' or 'PEXPIREAT', KEYS[3], ttl)
    end
  else
    saved = redis.pcall('SET', KEYS[2], state)
    redis.pcall('PERSIST', KEYS[3])
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
  redis.pcall('PUBLISH', sub(ARGV[1], space + 1), KEYS[1] .. '\n' .. line)
end
local answer = decision .. ' ' .. now_text .. ' ' .. ends .. value .. '\n' .. line
return more and {answer, more, further} or answer
