    -- Puts the older lines into the history as one entry, and takes out the oldest
    -- entries that it need not keep. A history that is no list, or longer than the scripts
    -- write, is damaged and counts as lost.
    local function lines_in(text)
      local n, at = 0, find(text, '\n', 1, true)
      while at do
        n, at = n + 1, find(text, '\n', at + 1, true)
      end
      return n
    end
    local length = redis.pcall('LPUSH', KEYS[3], older)
    local wrong = type(length) ~= 'number' and find(length.err, 'WRONGTYPE', 1, true)
    if wrong or type(length) == 'number' and length > 101 then
      call('UNLINK', KEYS[3])
      length = call('LPUSH', KEYS[3], older)
    end
    if type(length) == 'number' then -- else Redis refuses to write
      local events, bytes = tonumber(sub(lists, 8, 10)) or 0, tonumber(sub(lists, 11, 15)) or 0
      if events == 0 or length == 1 then -- the state was lost, or the history was
        events, bytes = 0, 0
        for _, entry in ipairs(call('LRANGE', KEYS[3], '1', '-1')) do
          events, bytes = events + lines_in(entry), bytes + #entry
        end
      end
      events, bytes = events + lines_in(older), bytes + #older
      while bytes > 31744 or events > 100 do
        local oldest = call('LINDEX', KEYS[3], '-1')
        local n = lines_in(oldest)
        if bytes <= 31744 and events - n < 100 then
          break
        end
        if length == 1 then -- what the state said of the history is damaged
          events, bytes = lines_in(older), #older
          break
        end
        call('RPOP', KEYS[3])
        length, events, bytes = length - 1, math.max(0, events - n), math.max(0, bytes - #oldest)
      end
      lists = sub(lists, 1, 7) .. format('%03d%05d', math.min(events, 999), math.min(bytes, 99999)) .. sub(lists, 16)
      older = ''
    end
