  -- The digest of the token of the lock.
  local digest = sub(block, 2, 11)
  if byte(block) == 45 then
    digest = match(mark, '^#.*:(%x*)$') or redis.sha1hex(mark)
    digest = string.gsub(sub(digest, 1, 20), '%x%x', function(pair) return string.char(tonumber(pair, 16)) end)
    digest = #digest == 10 and digest or sub(NO_TOKEN, 2)
  end
