-- KEYS[1]  the lock: a string, the lock's value; absent: the spool is free
-- KEYS[2]  the state, see spool.lua
-- KEYS[3]  the history, see spool.lua
-- ARGV[1]  how long state and history are kept after a change, ms; with a minus in front:
--          the state counts as lost
-- ARGV[2]  the channel on which changes are published
--
-- Every script returns a text: what it decided, the time as TIME gives it (two numbers), and
-- the spool, with spaces between them. The spool is EXPIRES, the lock's value, \n and LINE, see
-- spool.lua. A script that has more to say returns an array of that text and the rest: an
-- array costs Redis more than all else that a look needs.
--
-- Numbers are handed to redis.call as texts: it prints a number with 17 digits, slowly. Each
-- key and argument costs as much as a step of a script, so there are few.

local call, byte, find, sub = redis.call, string.byte, string.find, string.sub
local clock = call('TIME')
local expires = call('PEXPIRETIME', KEYS[1]) -- ms; -1: never; -2: the spool is free
if expires > $LATEST then
  expires = $LATEST
end
local value = expires ~= -2 and call('GETRANGE', KEYS[1], '0', '640') or ''
local state = redis.pcall('GETRANGE', KEYS[2], '0', '8192')
if byte(ARGV[1]) == 45 or type(state) ~= 'string' then
  state = ''
end
-- Where LINE ends if the lock is as the state has it.
local seen = tonumber(sub(state, 1, 15)) == expires and find(state, value, 16, true) == 16
  and byte(state, #value + 16) == 10 and find(state, '\n', #value + 17, true)
