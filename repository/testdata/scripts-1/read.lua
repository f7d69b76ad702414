-- Reads the spool. Decides FREE or HELD.

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
if expires > 253402300799999 then
  expires = 253402300799999
end
local value = expires ~= -2 and call('GETRANGE', KEYS[1], '0', '640') or ''
local state = redis.pcall('GETRANGE', KEYS[2], '0', '8192')
if byte(ARGV[1]) == 45 or type(state) ~= 'string' then
  state = ''
end
-- Where LINE ends if the lock is as the state has it.
local seen = tonumber(sub(state, 1, 15)) == expires and find(state, value, 16, true) == 16
  and byte(state, #value + 16) == 10 and find(state, '\n', #value + 17, true)
local held = expires == -2 and 'FREE' or 'HELD'
if seen then
  return held .. ' ' .. clock[1] .. ' ' .. clock[2] .. ' ' .. sub(state, 1, seen - 1)
end
-- Decodes the state, and records what happened to the lock since it was written. A script
-- goes on from there, and ends with answer.lua, which saves what changed.
--
-- Times are Unix times in ms on the clock of this server, and numbers are decimal digits
-- with zeros in front. A digest is the first 10 bytes of SHA-1.
--
-- LINE, one text without \n: an event, and the state of the spool after it. It is
-- stored, published and returned as it is.
--
--   1     kind: T taken, M resumed, N extended, Y taken by another program, Z its expiry
--         changed by another program: the spool is held. R released, E expired, F released
--         by force, X released by another program: it is free
--   2     at, 15 digits: when it happened; when it was noticed, if another program did it
--   17    version, 15: the fencing version of the spool
--   32    number, 9: how many changes of the spool were recorded
--   41    expires, 15: when the lock expires, or would have; 0: never
--   56    acquired, 15: when the lock was taken; 0: not known
--   71    extras: a JSON object of the lock's owner, name and note, and of what an event
--         adds: done and by (R); held, actor, reason (F)
--
-- STATE, a string of at most 8192 bytes:
--
--   EXPIRES mark \n LINE \n block \n older \n lists
--
--   EXPIRES  15: of the lock as it was last seen; -00000000000001: never;
--            -00000000000002: the spool is free
--   mark     the value of the lock as it was last seen; of a value that is empty, has more
--            than 101 bytes, or has # or \n in it: #, its length, :, SHA-1 of its first 641
--            bytes in hexadecimal digits; empty: free
--   LINE     the newest; of a free spool with the expires, acquired and extras 0, 0, {}
--   block    about the lock; empty: free.
--            1     c, if the token was made from a client's request id, s, if by the
--                  service, -, if by another program
--            2     digest of the token, 20 hexadecimal digits
--            22    when the newest extension was applied that is forgotten, 15
--            37    extensions whose ids the service made, a semicolon, and those whose ids
--                  are clients' request ids; the newest 16 each, newest first. Each has 40
--                  hexadecimal digits: digest of the id, 20; when, s, 8; the expiry that it
--                  gave, ms, 12
--   older    the events before LINE that are not in the history yet, newest first: each a
--            LINE and \n
--   lists    counts, 15: of ended 3, requests 3, forced 1; events in the history 3, and
--            their bytes 5; then these lists, newest first:
--            ended     64 tokens that ended within a day, 15 bytes each: digest 10, when it
--                      ended, s, 4; the kind of the end, or S: it was replaced, 1
--            requests  256 such tokens that were made from clients' request ids, for 7 days
--            forced    4 forced releases, 25 bytes each: digest of the id 10, version 15
--
-- HISTORY, a list, newest first: each entry has some LINEs, newest first, each with its \n.
-- The newest 100 lines are kept, as far as they have at most 32 KB.
--
-- MESSAGE, on the channel: the lock's key, \n, LINE.
--
-- A field that is added to what a lock or an event has goes into extras; readers ignore the
-- names there that they do not know, and scripts carry the extras of a lock on until it ends.
-- What is added to a spool goes behind the lists, at most 256 bytes; scripts carry that on.
-- Damage counts as lost: a state that is not as above, a version after the year 9999.

local format, match = string.format, string.match
local DAY, WEEK = 86400000, 604800000
local FREE, NEVER, ZERO = '-00000000000002', '-00000000000001', '000000000000000'
local NOTHING = '000000000000000{}' -- of_lock
local NO_BLOCK = '-00000000000000000000000000000000000;' -- of a lock whose token is not known
local now_text = '00' .. clock[1] .. (#clock[2] == 6 and sub(clock[2], 1, 3) or format('%03d', math.floor(clock[2] / 1000)))
local now = tonumber(now_text)

-- of_lock is acquired and extras of LINE, rest is older, \n and lists, and before how long older
-- is.
local ends, mark, line, version, seq, of_lock, block, rest, before
local possible = #state >= 106 and #state <= 8192
local line_begins = possible and (seen and #value + 17 or (find(state, '\n', 16, true) or #state) + 1)
local line_ends = possible and (seen or find(state, '\n', line_begins, true))
local block_ends = line_ends and find(state, '\n', line_ends + 1, true)
local older_ends = block_ends and find(state, '\n\n', block_ends, true)
if older_ends and #state >= older_ends + 16 and byte(state, line_begins + 70) == 123 and byte(state, line_ends - 1) == 125
  and line_ends > line_begins + 71 and block_ends - line_ends <= 1318 and (block_ends == line_ends + 1) == (line_begins == 17)
  and (seen and expires == -2 or not seen and sub(state, 1, 15) == FREE) == (line_begins == 17)
  and find(state, '^%d%d%d%d%d%d%d%d%d%d%d%d%d%d%d%d%d%d%d%d%d%d%d%d', line_begins + 16) then
  version, seq = tonumber(sub(state, line_begins + 16, line_begins + 30)), tonumber(sub(state, line_begins + 31, line_begins + 39))
end
if version and version > 0 and version < 253402300799999 and seq < 999999999 and (seen or tonumber(sub(state, 1, 15))) then
  ends, mark, line = sub(state, 1, 15), seen and value or sub(state, 16, line_begins - 2), sub(state, line_begins, line_ends - 1)
  of_lock, block, rest = sub(line, 56), sub(state, line_ends + 1, block_ends - 1), sub(state, block_ends + 1)
  before = older_ends - block_ends
else -- nothing is remembered, or it is damaged and counts as lost
  seen, ends, mark, line, version, seq = false, FREE, '', '', 0, 0
  of_lock, block, rest, before = NOTHING, '', '\n' .. ZERO, 0
end

local number = format('%09d', seq + 1) -- of the change that this run makes
local changed = false                  -- whether it makes one
local decision, more, further          -- what the script returns

-- What happened to the lock since the state was written. A lock that expired ended at
-- the time of its expiry; anything else was another program's doing.
if not seen and (expires ~= -2 or mark ~= '') then
  local found = value
  if expires ~= -2 and (value == '' or #value > 101 or find(value, '[#\n]')) then
    found = '#' .. format('%d', #value > 640 and call('STRLEN', KEYS[1]) or #value) .. ':' .. redis.sha1hex(value)
  end
  local expiry = tonumber(ends)
  if mark ~= '' and mark ~= found then
    local how, at, added = 'X', now, ''
    if expiry >= 0 and expiry <= now then
      how, at = 'E', expiry
    end
  -- The digest of the token of the lock.
  local hexadecimal = byte(block) ~= 45 and sub(block, 2, 21) or match(mark, '^#.*:(%x*)$') or redis.sha1hex(mark)
  local digest = string.gsub(sub(hexadecimal, 1, 20), '%x%x', function(pair) return string.char(tonumber(pair, 16)) end)
  digest = #digest == 10 and digest or '\0\0\0\0\0\0\0\0\0\0'
  -- Ends the lock that the state has, at at; how is the kind of its end, digest its token's,
  -- and added what the event adds to its extras.
  local older = sub(rest, 1, before)
  -- The lists of the state. They count as lost if they are shorter than they say.
  local lists = sub(rest, before + 2)
  local of_service, of_client, by_force = match(lists, '^(%d%d%d)(%d%d%d)(%d)%d%d%d%d%d%d%d%d')
  if not by_force or #lists < 15 + (of_service + of_client) * 15 + by_force * 25 then
    lists = ZERO
  end
  -- Remembers that the token of the lock, whose digest is digest, ended at at: how is the kind
  -- of its end.
  local floor = math.floor
  local s = floor(at / 1000)
  local entry = digest .. string.char(floor(s / 16777216) % 256, floor(s / 65536) % 256, floor(s / 256) % 256, s % 256) .. how
  local has = tonumber(sub(lists, 1, 3))
  if byte(block) ~= 99 then
    lists = format('%03d', has < 64 and has + 1 or 64) .. sub(lists, 4, 15) .. entry
      .. (has < 64 and sub(lists, 16) or sub(lists, 16, 15 + 63 * 15) .. sub(lists, 16 + has * 15))
  else
    local from, most = 15 + has * 15, 256
    has = tonumber(sub(lists, 4, 6))
    lists = sub(lists, 1, 3) .. format('%03d', has < most and has + 1 or most) .. sub(lists, 7, from) .. entry
      .. (has < most and sub(lists, from + 1) or sub(lists, from + 1, from + 255 * 15) .. sub(lists, from + 1 + has * 15))
  end
  version = version < now and now or version + 1
  local event = how .. (at == now and now_text or format('%015d', at)) .. (version == now and now_text or format('%015d', version)) .. number
  if added ~= '' then
    of_lock = of_lock == NOTHING and ZERO .. '{' .. sub(added, 2) .. '}' or sub(of_lock, 1, -2) .. added .. '}'
  end
  local ended_line = event .. (ends == NEVER and ZERO or ends) .. of_lock
  rest = ended_line .. '\n' .. line .. '\n' .. older .. '\n' .. lists
  before = before + #ended_line + #line + 2
  line = event .. '000000000000000000000000000000{}'
  ends, mark, block, of_lock = FREE, '', '', NOTHING
  changed = true
  end
  if mark ~= found then
    local owner = #value <= 640 and match(sub(value, 1, 256), '^([^:]+):')
    of_lock = owner and ZERO .. '{"owner":' .. cjson.encode(owner) .. '}' or NOTHING
    version = math.max(version + 1, now)
    local kind, version_text = 'Y', format('%015d', version)
  -- Makes the line that the lock has from now on, of the kind kind. The one before becomes an
  -- older one, unless both are one event: extensions that follow each other.
  local last = sub(line, 1, 1)
  if mark ~= '' and not (last == kind and (kind == 'N' or kind == 'Z')) and not (last == 'Z' and changed) then
    rest, before = line .. '\n' .. rest, before + #line + 1
  end
  ends = format('%015d', expires)
  line = kind .. now_text .. version_text .. number .. (expires == -1 and ZERO or ends) .. of_lock
  changed = true
    mark, block = found, NO_BLOCK
  elseif expires ~= -2 and expiry ~= expires then
    local kind, version_text = 'Z', format('%015d', version)
  -- Makes the line that the lock has from now on, of the kind kind. The one before becomes an
  -- older one, unless both are one event: extensions that follow each other.
  local last = sub(line, 1, 1)
  if mark ~= '' and not (last == kind and (kind == 'N' or kind == 'Z')) and not (last == 'Z' and changed) then
    rest, before = line .. '\n' .. rest, before + #line + 1
  end
  ends = format('%015d', expires)
  line = kind .. now_text .. version_text .. number .. (expires == -1 and ZERO or ends) .. of_lock
  changed = true
  end
end
decision = held
-- Saves and publishes what changed, and returns.

if changed then
  local set, till = 'PSETEX', byte(ARGV[1]) == 45 and sub(ARGV[1], 2) or ARGV[1]
  if (#till < 10 or expires - now > 9e8) and expires + DAY - now > tonumber(till) then
    set, till = 'SET', format('%d', expires + DAY)
  end
  if before > 800 or #line + #block + #rest > 8000 then
    local older, lists = sub(rest, 1, before), sub(rest, before + 2)
    if older ~= '' then
    -- Puts the older lines into the history as one entry, and takes out the oldest
    -- entries that it need not keep. A history that is no list, or longer than the scripts
    -- write, is damaged and counts as lost.
    local function lines_in(text)
      local n, at = 0, find(text, '\n', 1, true)
      while at do
        n, at = n + 1, find(text, '\n', at + 1, true)
      end
      return n
    end
    local length = redis.pcall('LPUSH', KEYS[3], older)
    local wrong = type(length) ~= 'number' and find(length.err, 'WRONGTYPE', 1, true)
    if wrong or type(length) == 'number' and length > 101 then
      call('UNLINK', KEYS[3])
      length = call('LPUSH', KEYS[3], older)
    end
    if type(length) == 'number' then -- else Redis refuses to write
      local events, bytes = tonumber(sub(lists, 8, 10)) or 0, tonumber(sub(lists, 11, 15)) or 0
      if events == 0 or length == 1 then -- the state was lost, or the history was
        events, bytes = 0, 0
        for _, entry in ipairs(call('LRANGE', KEYS[3], '1', '-1')) do
          events, bytes = events + lines_in(entry), bytes + #entry
        end
      end
      events, bytes = events + lines_in(older), bytes + #older
      while bytes > 31744 or events > 100 do
        local oldest = call('LINDEX', KEYS[3], '-1')
        local n = lines_in(oldest)
        if bytes <= 31744 and events - n < 100 then
          break
        end
        if length == 1 then -- what the state said of the history is damaged
          events, bytes = lines_in(older), #older
          break
        end
        call('RPOP', KEYS[3])
        length, events, bytes = length - 1, math.max(0, events - n), math.max(0, bytes - #oldest)
      end
      lists = sub(lists, 1, 7) .. format('%03d%05d', math.min(events, 999), math.min(bytes, 99999)) .. sub(lists, 16)
      older = ''
    end
    end
    -- What is behind the lists may be more than there is room for.
    rest, before = sub(older .. '\n' .. lists, 1, math.max(0, 8174 - #mark - #line - #block)), #older
  end
  if #rest > before + 8 and find(rest, '000', before + 9, true) ~= before + 9 then -- the history has events
    if expires == -1 then
      redis.pcall('PERSIST', KEYS[3])
    else
      redis.pcall(set == 'SET' and 'PEXPIREAT' or 'PEXPIRE', KEYS[3], till)
    end
  end
  state = ends .. mark .. '\n' .. line .. '\n' .. block .. '\n' .. rest
  local saved
  if expires == -1 then -- until a script finds the lock gone
    saved = redis.pcall('SET', KEYS[2], state)
  elseif set == 'SET' then
    saved = redis.pcall('SET', KEYS[2], state, 'PXAT', till)
  else
    saved = redis.pcall('PSETEX', KEYS[2], till, state)
  end
  if saved.err then
    -- A Redis that is full, or cannot write to its disk, answers all the same who holds
    -- what: then nothing is recorded, and the next look finds the same.
    if not find(saved.err, 'OOM', 1, true) and not find(saved.err, 'MISCONF', 1, true) then
      error(saved.err)
    end
    line = sub(line, 1, 31) .. format('%09d', seq) .. sub(line, 41)
  end
  -- A user who may not publish can work all the same: beats need the same right, so no
  -- view then takes itself for live.
  redis.pcall('PUBLISH', ARGV[2], KEYS[1] .. '\n' .. line)
end
local answer = decision .. ' ' .. clock[1] .. ' ' .. clock[2] .. ' ' .. ends .. value .. '\n' .. line
return more and {answer, more, further} or answer
