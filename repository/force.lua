-- Ends the lock of any holder, if it has the version that was seen.
--
-- ARGV[3]  version that the lock must have
-- ARGV[4]  id of this forced release, the same for each attempt at it
-- ARGV[5]  id of the worker who forces it
-- ARGV[6]  reason
--
-- Decides FORCED; REPLAYED: this forced release was applied before, and the reply is the
-- spool as it was left, with seq 0; ENDED: the spool is free; CONFLICT: its lock has
-- another version. The first two have an eleventh value: the event, alone in a list.
--
-- The event goes on with worker, reason, SHA-1 of the id, and the version, expiry (-1: none)
-- and time of the take (0: not known) of the lock that was ended.

local id = redis.sha1hex(ARGV[4])
local function answer(decision, event)
  local answered = reply(decision)
  answered[11] = {event}
  return answered
end

local events = redis.pcall('LRANGE', KEYS[3], 0, -1)
for _, event in ipairs(events) do
  local found = string.find(event, id, 1, true) -- most are not worth the decoding
  local intact, known = pcall(cjson.decode, found and event or '[]')
  if intact and known[1] == END_EVENT.F and known[10] == id then
    publish() -- the spool as it stands, if the look at it found it changed
    changed, value, expires, acquired, name, note = false, false, 0, '', '', ''
    version, seq = tonumber(known[2]), 0 -- as it stood once: older than every change
    return answer('REPLAYED', event)
  end
end
if not value then
  return reply('ENDED')
end
if version ~= tonumber(ARGV[3]) then
  return reply('CONFLICT')
end

local was = {digits(version), digits(expires), digits(tonumber(acquired) or 0)}
redis.call('DEL', KEYS[1])
refused = false -- a script that has written may go on
local event = record_end(value, 'F', now, '............', ARGV[5], ARGV[6], id, unpack(was))
value, expires, acquired, name, note = false, 0, '', '', ''
renew_memory()
return answer('FORCED', event)
