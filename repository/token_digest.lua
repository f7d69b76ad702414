  -- The digest of the token of the lock.
  local hexadecimal = byte(block) ~= 45 and sub(block, 2, 21) or match(mark, '^#.*:(%x*)$') or redis.sha1hex(mark)
  local digest = string.gsub(sub(hexadecimal, 1, 20), '%x%x', function(pair) return string.char(tonumber(pair, 16)) end)
  digest = #digest == 10 and digest or '\0\0\0\0\0\0\0\0\0\0'
