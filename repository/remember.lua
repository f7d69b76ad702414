  -- Remembers that the token of the lock, whose digest is digest, ended at at: how is the kind
  -- of its end.
  local of_client = byte(block) == 99
  local place = of_client and 2 or 1
  local first, has = of_client and (byte(counts) - 48) * 15 or 0, byte(counts, place) - 48
  local s = at / 1000 -- string.char drops what is behind the point
  local entry = digest .. string.char(s / 16777216 % 256, s / 65536 % 256, s / 256 % 256, s % 256)
    .. (of_client and string.lower(how) or how)
  if has < 8 then
    lists = sub(lists, 1, first) .. entry .. sub(lists, first + 1)
  else
    local group = of_client and tonumber(sub(counts, 5, 6)) % 32 or (byte(counts, 4) - 48) % 8
    local offset, eight = format('%d', group * 120 + (of_client and 960 or 0)), sub(lists, first + 1, first + 120)
    local length, stay = redis.pcall('SETRANGE', KEYS[4], offset, eight), 0
    if type(length) ~= 'number' and find(length.err, 'WRONGTYPE', 1, true) then
      call('UNLINK', KEYS[4])
      length = call('SETRANGE', KEYS[4], offset, eight)
    end
    if type(length) == 'number' then
      call('PEXPIRE', KEYS[4], '604800000')
      counts = of_client and sub(counts, 1, 4) .. format('%02d', group + 1) .. sub(counts, 7)
        or sub(counts, 1, 3) .. string.char(group + 49) .. sub(counts, 5)
    else -- Redis refuses to write: if the state can be saved all the same, only the oldest is forgotten
      stay = 7
    end
    lists, has = sub(lists, 1, first) .. entry .. sub(lists, first + 1, first + stay * 15) .. sub(lists, first + has * 15 + 1), stay
  end
  counts = sub(counts, 1, place - 1) .. string.char(has + 49) .. sub(counts, place + 1)
