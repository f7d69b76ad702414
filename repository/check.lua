-- Decides HOLDS or HOLDS_NOT, of the token ARGV[3].

--include look.lua
local holds = expires ~= -2 and value == ARGV[3] and 'HOLDS' or 'HOLDS_NOT'
if seen then
  return holds .. ' ' .. clock[1] .. ' ' .. clock[2] .. ' ' .. sub(state, 1, seen - 1)
end
--include spool.lua
decision = holds
--include answer.lua
