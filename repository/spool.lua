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
--   EXPIRES mark \n LINE \n counts block older \n \n lists
--
--   EXPIRES  15: of the lock as it was last seen; -00000000000001: never;
--            -00000000000002: the spool is free
--   mark     the value of the lock as it was last seen; of a value that is empty, has more
--            than 101 bytes, or has # or \n in it: #, its length, :, SHA-1 of its first 641
--            bytes in hexadecimal digits; empty: free
--   LINE     the newest; of a free spool with the expires, acquired and extras 0, 0, {}
--   counts   13 digits
--            1     of ended, in the lists
--            2     of requests, in the lists
--            3     of forced, in the lists
--            4     the group of ended in ENDED that was written last, 1 to 8; 0: none
--            5     the same of requests, 1 to 32: 2 digits
--            7     1: the history has events
--            8     when state and history were last given the time to live of ARGV[1], in units
--                  of 10,000 s; 0: they have another one
--   block    about the lock; empty: free.
--            1     c, if the token was made from a client's request id, s, if by the
--                  service, -, if by another program
--            2     digest of the token, 10 bytes
--            12    when the newest extension was applied that is forgotten, 15
--            27    how many extensions follow whose ids the service made, up to 16: a letter,
--                  A for none
--            28    the same of those whose ids are clients' request ids
--            29    the newest extensions of both, newest first, each 40 bytes: digest of the
--                  id, 10; when, 15; the expiry that it gave, 15
--   older    the events before LINE that are not in the history, oldest first: each \n and a
--            LINE
--   lists    newest first:
--            ended     tokens that ended, at most 8 of 15 bytes: digest 10, when it ended, s,
--                      4; the kind of the end, or S: it was replaced, 1
--            requests  the same of tokens that were made from clients' request ids; the kind
--                      is a small letter
--            forced    4 forced releases, 25 bytes each: digest of the id 10, version of the
--                      event 15
--
-- ENDED, a string: the tokens that ended before those of the lists, in groups of 8: first 8
-- groups of ended, then 32 of requests. The next group takes the place of the oldest. One of
-- ended counts for a day, one of requests for 7 days.
--
-- HISTORY, a string of at most 30 KB: the events before those of older, oldest first, each
-- \n and a LINE. When it grows larger, its newest 100 events stay, or the newest 24 KB.
--
-- MESSAGE, on the channel: the lock's key, \n, LINE.
--
-- A field that is added to what a lock or an event has goes into extras; readers ignore the
-- names there that they do not know, and scripts carry the extras of a lock on until it ends.
-- What is added to a spool goes behind the lists, at most 256 bytes; scripts carry that on.
-- Damage counts as lost: a state that is not as above, a version at the end of the year 9999
-- or later.

local match = string.match
local DAY, WEEK = 86400000, 604800000
local FREE, NEVER, ZERO = '-00000000000002', '-00000000000001', '000000000000000'
local NOTHING = '000000000000000{}'        -- of_lock
local NO_EXTENSION = '000000000000000AA'   -- in the block of a lock
local NO_TOKEN = '-\0\0\0\0\0\0\0\0\0\0' -- and of one whose token is not known

-- of_lock is acquired and extras of LINE.
local mark, line, version, seq, of_lock, counts, block, older, lists
local possible = #state > 15 and #state <= 8192
local line_begins = possible and (seen and #value + 17 or (find(state, '\n', 16, true) or #state) + 1)
local line_ends = possible and (seen or find(state, '\n', line_begins, true))
local block_ends = line_ends and line_ends + 14
if block_ends and line_begins ~= 17 then
  local of_service, of_client = byte(state, block_ends + 26, block_ends + 27)
  block_ends = of_client and of_service >= 65 and of_service <= 81 and of_client >= 65 and of_client <= 81
    and block_ends + 28 + (of_service + of_client - 130) * 40
end
local older_ends = block_ends and byte(state, block_ends) == 10 and find(state, '\n\n', block_ends, true)
if older_ends and line_ends > line_begins + 71 and byte(state, line_begins + 70) == 123 and byte(state, line_ends - 1) == 125
  and (seen and expires == -2 or not seen and ends == FREE) == (line_begins == 17) and (seen or tonumber(ends)) then
  local _, header_ends = find(state, '^%d+', line_begins + 16)
  local _, counts_end = find(state, '^%d+', line_ends + 1)
  if header_ends and header_ends >= line_begins + 39 and counts_end and counts_end >= line_ends + 13 then
    version, seq = sub(state, line_begins + 16, line_begins + 30), tonumber(sub(state, line_begins + 31, line_begins + 39))
    counts, lists = sub(state, line_ends + 1, line_ends + 13), sub(state, older_ends + 2)
  end
end
if version and version > ZERO and version < '$LAST_VERSION' and seq < 999999999
  and #lists >= (byte(counts, 1) + byte(counts, 2) - 96) * 15 + (byte(counts, 3) - 48) * 25 then
  mark, line = seen and value or sub(state, 16, line_begins - 2), sub(state, line_begins, line_ends - 1)
  of_lock, block, older = sub(line, 56), sub(state, line_ends + 14, block_ends - 1), sub(state, block_ends, older_ends - 1)
else -- nothing is remembered, or it is damaged and counts as lost
  seen, ends, mark, line, version, seq = false, FREE, '', '', ZERO, 0
  of_lock, counts, block, older, lists = NOTHING, '0000000000000', '', '', ''
end

local number = format('%09d', seq + 1) -- of the change that this run makes
local changed = false                  -- whether it makes one
local moved = false                    -- whether the expiry is another one without a change
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
    local kind = 'Y'
--include next_version.lua
--include continue.lua
    mark, block = found, NO_TOKEN .. NO_EXTENSION
  elseif expires >= 0 and expiry >= 0 and math.abs(expires - expiry) < 1000 then
    -- Redis itself moves an expiry by the time that it takes to move the key to another master.
    ends = format('%015d', expires)
    line = sub(line, 1, 40) .. ends .. of_lock
    moved = expires ~= expiry
  elseif expires ~= -2 and expiry ~= expires then
    local kind = 'Z'
--include continue.lua
  end
end
