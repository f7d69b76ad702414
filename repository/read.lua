-- Reads the spool. Decides FREE or HELD.

--include look.lua
local held = expires == -2 and 'FREE' or 'HELD'
if seen then
  return held .. ' ' .. clock[1] .. ' ' .. clock[2] .. ' ' .. sub(state, 1, seen - 1)
end
--include spool.lua
decision = held
--include answer.lua
