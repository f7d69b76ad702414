-- How the token with the digest ARGV[4] ended, as the lists remember it; nil: not at all.
local ended
if find(rest, ARGV[4], 1, true) then
  local lists = sub(rest, before + 2)
  local at = find(lists, '^%d%d%d%d%d%d%d%d%d%d%d%d%d%d%d') and find(lists, ARGV[4], 16, true)
  local has = at and tonumber(sub(lists, 1, 3))
  local all = at and has + tonumber(sub(lists, 4, 6))
  while at do
    local before = (at - 16) / 15 -- entries before it
    if before < all and before % 1 == 0 then
      local a, b, c, d, how = string.byte(lists, at + 10, at + 14)
      local when = how and (((a * 256 + b) * 256 + c) * 256 + d) * 1000
      ended = when and when > now - (before < has and DAY or WEEK) and string.char(how) or nil
      break
    end
    at = find(lists, ARGV[4], at + 1, true)
  end
end
