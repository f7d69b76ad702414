-- Reads the spool with its history. Decides FREE or HELD. Returns the end of the history, from
-- the begin of a line on, and older: together they have the newest ARGV[2] lines at least, if
-- so many are kept.

--include look.lua
--include spool.lua
decision = expires == -2 and 'FREE' or 'HELD'
local size, text = math.min(ARGV[2] * 200, 32768)
repeat
  text = redis.pcall('GETRANGE', KEYS[3], format('%d', -size), '-1')
  text = type(text) == 'string' and text or ''
--include count_lines.lua
  local all = #text < size or size == 32768
  size = 32768
until all or n >= tonumber(ARGV[2])
if #text >= ARGV[2] * 200 or #text == 32768 then
  text = sub(text, find(text, '\n', 1, true) or #text) -- it may begin within a line
end
more, further = text, older
--include answer.lua
