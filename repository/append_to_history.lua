    -- A history that is no string, or that Redis lets grow no further, counts as lost. Of one
    -- that is too large, the end stays.
    local length = redis.pcall('APPEND', KEYS[3], older)
    if type(length) ~= 'number' and (find(length.err, 'WRONGTYPE', 1, true) or find(length.err, 'exceeds', 1, true)) then
      call('UNLINK', KEYS[3])
      length = call('APPEND', KEYS[3], older)
    end
    if type(length) == 'number' then -- else Redis refuses to write
      if length > 30720 then
        local text = call('GETRANGE', KEYS[3], '-24576', '-1')
--include count_lines.lua
        at = find(text, '\n', 1, true) or 1
        for _ = 1, n - 100 do
          at = find(text, '\n', at + 1, true)
        end
        call('SET', KEYS[3], sub(text, at), 'KEEPTTL')
      end
      local new = length == #older or byte(counts, 7) ~= 49 -- to this state; its time to live is to be set
      counts = sub(counts, 1, 6) .. '1' .. (new and '000000' or sub(counts, 8))
      older = ''
    end
