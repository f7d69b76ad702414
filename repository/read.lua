-- Reads the spool. Decides FREE or HELD.

--include look.lua
local held = expires == -2 and 'FREE' or 'HELD'
if seen then
  return held .. ' ' .. now_text .. ' ' .. sub(state, 1, seen - 1)
end
--include spool.lua
decision = held
--include answer.lua
