-- How the token with the digest asked ended, if that is remembered. from and till say which
-- part of ENDED to look at.
local ended
local has, at = lists, find(lists, asked, 1, true)
if not at and find(counts, '000', 4, true) ~= 4 then
  has = redis.pcall('GETRANGE', KEYS[4], from, till)
  at = type(has) == 'string' and find(has, asked, 1, true)
end
while at and not ended do -- of a token that was used again, an older end may come first
  local a, b, c, d, how = byte(has, at + 10, at + 14)
  local when = how and at % 15 == 1 and (((a * 256 + b) * 256 + c) * 256 + d) * 1000
  ended = when and when > now - (how < 97 and DAY or WEEK) and string.upper(string.char(how)) or nil
  at = find(has, asked, at + 1, true)
end
