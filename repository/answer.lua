-- Saves and publishes a change or a moved expiry, and returns.

if changed or moved then
  local space = find(ARGV[1], ' ', 1, true)
  if older ~= '' and (byte(counts, 7) == 49 or #older > 800) then
--include append_to_history.lua
  end
  local room = 8155 - #mark - #line - #block - #older
  if #lists > room then
    lists = sub(lists, 1, math.max(0, room)) -- another version's bytes behind them may not fit
  end
  -- A time to live is set at the first change in a unit of 10,000 s, and ARGV[1] is as much
  -- longer than what is asked for. A spool is not forgotten before its lock expires.
  local ttl, option = sub(ARGV[1], byte(ARGV[1]) == 45 and 2 or 1, space - 1), 'PX'
  local given = sub(now_text, 3, 8)
  if expires == -1 then
    option, given = nil, '000000'
  elseif expires > now and expires + DAY - now > tonumber(ttl) - $MARGIN then
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
    if byte(counts, 7) == 49 and not saved.err then
      redis.pcall(option == 'PX' and 'PEXPIRE' or 'PEXPIREAT', KEYS[3], ttl)
    end
  else
    saved = redis.pcall('SET', KEYS[2], state)
    if not saved.err then
      redis.pcall('PERSIST', KEYS[3])
    end
  end
  if saved.err then
    -- A Redis that is full, or cannot write to its disk, answers all the same who holds
    -- what: then nothing is recorded, and the next look finds the same.
    if not find(saved.err, 'OOM', 1, true) and not find(saved.err, 'MISCONF', 1, true) then
      return saved
    end
    line = sub(line, 1, 31) .. format('%09d', seq) .. sub(line, 41)
  end
  -- A user without the right to publish can still change locks. Beats need the same right,
  -- so no view becomes live.
  redis.pcall('PUBLISH', sub(ARGV[1], space + 1), KEYS[1] .. '\n' .. line)
end
local answer = decision .. ' ' .. now_text .. ' ' .. ends .. value .. '\n' .. line
return more and {answer, more, further} or answer
