-- Decides HOLDS or HOLDS_NOT, of the token ARGV[2].

--include look.lua
local holds = expires ~= -2 and value == ARGV[2] and 'HOLDS' or 'HOLDS_NOT'
if seen then
  return holds .. ' ' .. now_text .. ' ' .. sub(state, 1, seen - 1)
end
--include spool.lua
decision = holds
--include answer.lua
