-- KEYS[1]  the lock: a string, the lock's value; absent: the spool is free
-- KEYS[2]  the state, see spool.lua
-- KEYS[3]  the history, see spool.lua
-- KEYS[4]  tokens that ended, see spool.lua
-- ARGV[1]  how long state and history are kept after a change, ms, a space, and the channel on
--          which changes are published; with a minus in front: the state counts as lost
--
-- Every script returns a text: what it decided, the time, and the spool, with spaces between
-- them. The spool is EXPIRES, the lock's value, \n and LINE, see spool.lua. A script that has
-- more to say returns an array of that text and the rest. An array costs Redis more than the
-- rest of a look.
--
-- Numbers are handed to redis.call as texts: it prints a number with 17 digits, slowly. Each
-- byte of each text that a script makes is hashed, so there are few, and short ones. All that
-- an operation says of itself is one argument, because each costs as much as two steps.

local call, byte, find, format, sub = redis.call, string.byte, string.find, string.format, string.sub
local expires = call('PEXPIRETIME', KEYS[1]) -- ms; -1: never; -2: the spool is free
local now
if expires >= 0 and expires <= $LATEST then
  now = expires - call('PTTL', KEYS[1]) -- in half the time of TIME
else
  local clock = call('TIME')
  now = clock[1] * 1000 + math.floor(clock[2] / 1000)
  expires = math.min(expires, $LATEST)
end
local now_text = format('%015d', now)
local value = expires ~= -2 and call('GETRANGE', KEYS[1], '0', '640') or ''
local state = redis.pcall('GETRANGE', KEYS[2], '0', '8192')
if byte(ARGV[1]) == 45 or type(state) ~= 'string' then
  state = ''
end
-- Where LINE ends if the lock is as the state has it.
local ends = sub(state, 1, 15)
local seen = #state > 15 and tonumber(ends) == expires and find(state, value, 16, true) == 16
  and byte(state, #value + 16) == 10 and find(state, '\n', #value + 17, true)
