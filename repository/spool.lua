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
if version and version > 0 and version < $LATEST and seq < 999999999 and (seen or tonumber(sub(state, 1, 15))) then
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
--include token_digest.lua
--include close.lua
  end
  if mark ~= found then
    local owner = #value <= 640 and match(sub(value, 1, 256), '^([^:]+):')
    of_lock = owner and ZERO .. '{"owner":' .. cjson.encode(owner) .. '}' or NOTHING
    version = math.max(version + 1, now)
    local kind, version_text = 'Y', format('%015d', version)
--include continue.lua
    mark, block = found, NO_BLOCK
  elseif expires ~= -2 and expiry ~= expires then
    local kind, version_text = 'Z', format('%015d', version)
--include continue.lua
  end
end
