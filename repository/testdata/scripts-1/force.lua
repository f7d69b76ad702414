-- Ends the lock of any holder, if it is the one that was seen.
--
-- ARGV[2]  version that the lock must have, 15 digits
-- ARGV[3]  digest of the id of this forced release, the same for each attempt at it
-- ARGV[4]  what the event adds to the extras of the lock: ,"actor": who forces it and
--          ,"reason": why; after ,"held": the version of the lock
--
-- Decides FORCED; REPLAYED: this forced release was applied before, and its event is still
-- there; ENDED: the spool is free; CONFLICT: its lock has another version. Returns the LINE
-- of the event, of FORCED and REPLAYED.

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
if expires >= 0 and expires <= 253402300799999 then
  now = expires - call('PTTL', KEYS[1]) -- in half the time of TIME
else
  local clock = call('TIME')
  now = clock[1] * 1000 + math.floor(clock[2] / 1000)
  expires = math.min(expires, 253402300799999)
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
if version and version > ZERO and version < '253402300799989' and seq < 999999999
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
  -- The digest of the token of the lock.
  local digest = sub(block, 2, 11)
  if byte(block) == 45 then
    digest = match(mark, '^#.*:(%x*)$') or redis.sha1hex(mark)
    digest = string.gsub(sub(digest, 1, 20), '%x%x', function(pair) return string.char(tonumber(pair, 16)) end)
    digest = #digest == 10 and digest or sub(NO_TOKEN, 2)
  end
  -- Ends the lock that the state has, at at; how is the kind of its end, digest its token's,
  -- and added what the event adds to its extras.
  -- Remembers that the token of the lock, whose digest is digest, ended at at: how is the kind
  -- of its end.
  local of_client = byte(block) == 99
  local place = of_client and 2 or 1
  local first, has = of_client and (byte(counts) - 48) * 15 or 0, byte(counts, place) - 48
  local s = at / 1000 -- string.char drops what is behind the point
  local entry = digest .. string.char(s / 16777216 % 256, s / 65536 % 256, s / 256 % 256, s % 256)
    .. (of_client and string.lower(how) or how)
  if has < 8 then
    lists = sub(lists, 1, first) .. entry .. sub(lists, first + 1)
  else
    local group = of_client and tonumber(sub(counts, 5, 6)) % 32 or (byte(counts, 4) - 48) % 8
    local offset, eight = format('%d', group * 120 + (of_client and 960 or 0)), sub(lists, first + 1, first + 120)
    local length, stay = redis.pcall('SETRANGE', KEYS[4], offset, eight), 0
    if type(length) ~= 'number' and find(length.err, 'WRONGTYPE', 1, true) then
      call('UNLINK', KEYS[4])
      length = call('SETRANGE', KEYS[4], offset, eight)
    end
    if type(length) == 'number' then
      call('PEXPIRE', KEYS[4], '604800000')
      counts = of_client and sub(counts, 1, 4) .. format('%02d', group + 1) .. sub(counts, 7)
        or sub(counts, 1, 3) .. string.char(group + 49) .. sub(counts, 5)
    else -- Redis refuses to write: if the state can be saved all the same, only the oldest is forgotten
      stay = 7
    end
    lists, has = sub(lists, 1, first) .. entry .. sub(lists, first + 1, first + stay * 15) .. sub(lists, first + has * 15 + 1), stay
  end
  counts = sub(counts, 1, place - 1) .. string.char(has + 49) .. sub(counts, place + 1)
  version = version < now_text and now_text or format('%015d', tonumber(version) + 1)
  local event = how .. (at == now and now_text or format('%015d', at)) .. version .. number
  local ended_line = event .. (ends == NEVER and ZERO or ends)
  if added == '' then
    ended_line = ended_line .. of_lock
  elseif of_lock == NOTHING then
    ended_line = ended_line .. ZERO .. '{' .. sub(added, 2) .. '}'
  else
    ended_line = ended_line .. sub(of_lock, 1, -2) .. added .. '}'
  end
  older = older .. '\n' .. line .. '\n' .. ended_line
  line = event .. '000000000000000000000000000000{}'
  ends, mark, block, of_lock = FREE, '', '', NOTHING
  changed = true
  end
  if mark ~= found then
    local owner = #value <= 640 and match(sub(value, 1, 256), '^([^:]+):')
    of_lock = owner and ZERO .. '{"owner":' .. cjson.encode(owner) .. '}' or NOTHING
    local kind = 'Y'
  version = version < now_text and now_text or format('%015d', tonumber(version) + 1)
  -- Makes the line that the lock has from now on, of the kind kind. The one before becomes an
  -- older one, unless both are one event: extensions that follow each other, and an extension
  -- by which another program's was noticed, as it would have the same version and number.
  local last = sub(line, 1, 1)
  if mark ~= '' and not (last == kind and (kind == 'N' or kind == 'Z')) and not (last == 'Z' and kind == 'N' and changed) then
    older = older .. '\n' .. line
  end
  ends = format('%015d', expires)
  line = kind .. now_text .. version .. number .. (expires == -1 and ZERO or ends) .. of_lock
  changed = true
    mark, block = found, NO_TOKEN .. NO_EXTENSION
  elseif expires >= 0 and expiry >= 0 and math.abs(expires - expiry) < 1000 then
    -- Redis itself moves an expiry by the time that it takes to move the key to another master.
    ends = format('%015d', expires)
    line = sub(line, 1, 40) .. ends .. of_lock
    moved = expires ~= expiry
  elseif expires ~= -2 and expiry ~= expires then
    local kind = 'Z'
  -- Makes the line that the lock has from now on, of the kind kind. The one before becomes an
  -- older one, unless both are one event: extensions that follow each other, and an extension
  -- by which another program's was noticed, as it would have the same version and number.
  local last = sub(line, 1, 1)
  if mark ~= '' and not (last == kind and (kind == 'N' or kind == 'Z')) and not (last == 'Z' and kind == 'N' and changed) then
    older = older .. '\n' .. line
  end
  ends = format('%015d', expires)
  line = kind .. now_text .. version .. number .. (expires == -1 and ZERO or ends) .. of_lock
  changed = true
  end
end
local forced = byte(counts, 3) - 48
local first = (byte(counts, 1) + byte(counts, 2) - 96) * 15
for i = first, first + (forced - 1) * 25, 25 do
  if sub(lists, i + 1, i + 10) == ARGV[3] then
    local events = redis.pcall('GETRANGE', KEYS[3], '-32768', '-1')
    events = (type(events) == 'string' and events or '') .. older
    local digits = string.rep('%d', 15)
    local seen_version = match(sub(lists, i + 11, i + 25), digits)
    local from, till
    if seen_version and seen_version <= '253402300799999' then
      from, till = find(events, '\nF' .. digits .. seen_version .. sub(digits, 1, 18) .. string.rep('[^\n]', 30) .. '[^\n]*')
    end
    if from then
      decision, more = 'REPLAYED', sub(events, from + 1, till)
    end
    break
  end
end
if decision then
  -- it was applied before
elseif expires == -2 then
  decision = 'ENDED'
elseif version ~= ARGV[2] then
  decision = 'CONFLICT'
else
  decision = 'FORCED'
  call('UNLINK', KEYS[1])
  value, expires = '', -2
  local how, at, added = 'F', now, format(',"held":%d', tonumber(version)) .. ARGV[4]
  -- The digest of the token of the lock.
  local digest = sub(block, 2, 11)
  if byte(block) == 45 then
    digest = match(mark, '^#.*:(%x*)$') or redis.sha1hex(mark)
    digest = string.gsub(sub(digest, 1, 20), '%x%x', function(pair) return string.char(tonumber(pair, 16)) end)
    digest = #digest == 10 and digest or sub(NO_TOKEN, 2)
  end
  -- Ends the lock that the state has, at at; how is the kind of its end, digest its token's,
  -- and added what the event adds to its extras.
  -- Remembers that the token of the lock, whose digest is digest, ended at at: how is the kind
  -- of its end.
  local of_client = byte(block) == 99
  local place = of_client and 2 or 1
  local first, has = of_client and (byte(counts) - 48) * 15 or 0, byte(counts, place) - 48
  local s = at / 1000 -- string.char drops what is behind the point
  local entry = digest .. string.char(s / 16777216 % 256, s / 65536 % 256, s / 256 % 256, s % 256)
    .. (of_client and string.lower(how) or how)
  if has < 8 then
    lists = sub(lists, 1, first) .. entry .. sub(lists, first + 1)
  else
    local group = of_client and tonumber(sub(counts, 5, 6)) % 32 or (byte(counts, 4) - 48) % 8
    local offset, eight = format('%d', group * 120 + (of_client and 960 or 0)), sub(lists, first + 1, first + 120)
    local length, stay = redis.pcall('SETRANGE', KEYS[4], offset, eight), 0
    if type(length) ~= 'number' and find(length.err, 'WRONGTYPE', 1, true) then
      call('UNLINK', KEYS[4])
      length = call('SETRANGE', KEYS[4], offset, eight)
    end
    if type(length) == 'number' then
      call('PEXPIRE', KEYS[4], '604800000')
      counts = of_client and sub(counts, 1, 4) .. format('%02d', group + 1) .. sub(counts, 7)
        or sub(counts, 1, 3) .. string.char(group + 49) .. sub(counts, 5)
    else -- Redis refuses to write: if the state can be saved all the same, only the oldest is forgotten
      stay = 7
    end
    lists, has = sub(lists, 1, first) .. entry .. sub(lists, first + 1, first + stay * 15) .. sub(lists, first + has * 15 + 1), stay
  end
  counts = sub(counts, 1, place - 1) .. string.char(has + 49) .. sub(counts, place + 1)
  version = version < now_text and now_text or format('%015d', tonumber(version) + 1)
  local event = how .. (at == now and now_text or format('%015d', at)) .. version .. number
  local ended_line = event .. (ends == NEVER and ZERO or ends)
  if added == '' then
    ended_line = ended_line .. of_lock
  elseif of_lock == NOTHING then
    ended_line = ended_line .. ZERO .. '{' .. sub(added, 2) .. '}'
  else
    ended_line = ended_line .. sub(of_lock, 1, -2) .. added .. '}'
  end
  older = older .. '\n' .. line .. '\n' .. ended_line
  line = event .. '000000000000000000000000000000{}'
  ends, mark, block, of_lock = FREE, '', '', NOTHING
  changed = true
  first = (byte(counts, 1) + byte(counts, 2) - 96) * 15
  lists = sub(lists, 1, first) .. ARGV[3] .. version .. sub(lists, first + 1, first + math.min(forced, 3) * 25)
    .. sub(lists, first + 1 + forced * 25)
  counts = sub(counts, 1, 2) .. string.char(math.min(forced + 1, 4) + 48) .. sub(counts, 4)
  more = ended_line
end
-- Saves and publishes a change or a moved expiry, and returns.

if changed or moved then
  local space = find(ARGV[1], ' ', 1, true)
  if older ~= '' and (byte(counts, 7) == 49 or #older > 800) then
    -- A history that is no string, or that Redis lets grow no further, counts as lost. Of one
    -- that is too large, the end stays.
    local length = redis.pcall('APPEND', KEYS[3], older)
    if type(length) ~= 'number' and (find(length.err, 'WRONGTYPE', 1, true) or find(length.err, 'exceeds', 1, true)) then
      call('UNLINK', KEYS[3])
      length = call('APPEND', KEYS[3], older)
    end
    if type(length) == 'number' then -- else Redis refuses to write
      if length > 30720 then
        local text = call('GETRANGE', KEYS[3], '-24576', '-1')
local n, at = 0, 0 -- lines of text
while at and at < #text do
  at = find(text, '\n', at + 1, true)
  n = at and n + 1 or n
end
        at = find(text, '\n', 1, true) or 1
        for _ = 1, n - 100 do
          at = find(text, '\n', at + 1, true)
        end
        call('SET', KEYS[3], sub(text, at), 'KEEPTTL')
      end
      local new = length == #older or byte(counts, 7) ~= 49 -- to this state; its time to live is to be set
      counts = sub(counts, 1, 6) .. '1' .. (new and '000000' or sub(counts, 8))
      older = ''
    end
  end
  local room = 8155 - #mark - #line - #block - #older
  if #lists > room then
    lists = sub(lists, 1, math.max(0, room)) -- another version's bytes behind them may not fit
  end
  -- A time to live is set at the first change in a unit of 10,000 s, and ARGV[1] is as much
  -- longer than what is asked for. A spool is not forgotten before its lock expires.
  local ttl, option = sub(ARGV[1], byte(ARGV[1]) == 45 and 2 or 1, space - 1), 'PX'
  local given = sub(now_text, 3, 8)
  if expires == -1 then
    option, given = nil, '000000'
  elseif expires > now and expires + DAY - now > tonumber(ttl) - 10000000 then
    ttl, option, given = format('%d', expires + DAY), 'PXAT', '000000'
  elseif find(counts, given, 8, true) == 8 then
    option = 'KEEPTTL'
  end
  if option ~= 'KEEPTTL' then
    counts = sub(counts, 1, 7) .. given
  end
  state = ends .. mark .. '\n' .. line .. '\n' .. counts .. block .. older .. '\n\n' .. lists
  local saved
  if option == 'KEEPTTL' then
    saved = redis.pcall('SET', KEYS[2], state, 'KEEPTTL')
  elseif option then
    saved = redis.pcall('SET', KEYS[2], state, option, ttl)
    if byte(counts, 7) == 49 and not saved.err then
      redis.pcall(option == 'PX' and 'PEXPIRE' or 'PEXPIREAT', KEYS[3], ttl)
    end
  else
    saved = redis.pcall('SET', KEYS[2], state)
    if not saved.err then
      redis.pcall('PERSIST', KEYS[3])
    end
  end
  if saved.err then
    -- A Redis that is full, or cannot write to its disk, answers all the same who holds
    -- what: then nothing is recorded, and the next look finds the same.
    if not find(saved.err, 'OOM', 1, true) and not find(saved.err, 'MISCONF', 1, true) then
      return saved
    end
    line = sub(line, 1, 31) .. format('%09d', seq) .. sub(line, 41)
  end
  -- A user without the right to publish can still change locks. Beats need the same right,
  -- so no view becomes live.
  redis.pcall('PUBLISH', sub(ARGV[1], space + 1), KEYS[1] .. '\n' .. line)
end
local answer = decision .. ' ' .. now_text .. ' ' .. ends .. value .. '\n' .. line
return more and {answer, more, further} or answer
