-- Runs at the head of every script.
--
-- KEYS[1]  the lock: a string, the lock's value; absent: the spool is free
-- KEYS[2]  the companion, a hash:
--            version     fencing version of the spool
--            token       value of the lock that was last seen; SHA-1 of a value
--                        that is longer than VALUE
--            expires     its expiry, ms; -1: none; empty: that lock has ended
--            acquired    when it was taken, ms; empty: not known
--            name, note  of its owner; empty: none
--            ended       how tokens ended, newest first, see ENTRY
--            barred      tokens that may never take, newest first, see BAR
--            extensions  version of the lock it belongs to, then the extensions
--                        applied to it, newest first, see EXTENSION in extend.lua
-- ARGV[1]  how long the companion is kept after a change, ms
--
-- Every script returns the nine values of reply().
--
-- Times are Unix times in milliseconds on the clock of this server. Numbers are
-- handed to redis.call as they are, which prints 17 digits; tostring would round
-- them to 14.

local DAY = 86400000
local VALUE = 256               -- bytes of a lock's value that are looked at
local NEVER = 253402300799999   -- the end of the year 9999: no expiry is later
local LARGEST = 9007199254740991 -- 2^53-1, the largest version

-- ENTRY: 66 bytes, the letter of how it ended, when (13 digits), SHA-1 of the
-- token, the last 12 characters of the release that ended it. A digest, because
-- other programs' tokens may have any length, and because nothing else is needed.
local ENTRY, ENTRIES = 66, 64

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local value = redis.call('GET', KEYS[1])
local expires = value and math.min(redis.call('PEXPIRETIME', KEYS[1]), NEVER) or 0
local seen = redis.call('HMGET', KEYS[2], 'version', 'token', 'expires', 'acquired', 'name', 'note')
local version = tonumber(seen[1] or 0)
local held = seen[3] and seen[3] ~= ''
local expiry = held and tonumber(seen[3])
local acquired, name, note = seen[4] or '', seen[5] or '', seen[6] or ''
local mark = value and #value > VALUE and redis.sha1hex(value) or value

-- Writes to the companion. A Redis that is full, or cannot write to its disk, is
-- to answer all the same who holds what: then nothing is recorded, and the next
-- look finds the same. The lock's own key is never written this way.
local function write(...)
  local answer = redis.pcall(...)
  if type(answer) == 'table' and answer.err and not string.find(answer.err, '^OOM')
    and not string.find(answer.err, '^MISCONF') then
    return redis.call(...) -- says the error itself
  end
end

local function grow()
  version = math.max(version + 1, now)
end

-- Keeps the companion longer than the lock, and the fate of a lapsed lock for a
-- day after it. That of a lock without an expiry stays until a script finds the
-- lock gone.
local function keep()
  if value and expires == -1 then
    write('PERSIST', KEYS[2])
  else
    write('PEXPIREAT', KEYS[2], math.max(now + ARGV[1], expires + DAY))
  end
end

-- A list of entries without the oldest, so that one more makes at most most of
-- them, and without those that are older than age, ms. at is where the 13 digits
-- of their time begin. A list of another length than theirs is damaged, and lost.
local function younger(list, size, at, most, age)
  if not list or #list % size ~= 0 then
    return ''
  end
  local kept = math.min(#list / size, most - 1)
  while kept > 0 and (tonumber(string.sub(list, (kept - 1) * size + at, (kept - 1) * size + at + 12)) or 0) <= now - age do
    kept = kept - 1
  end
  return string.sub(list, 1, kept * size)
end

-- Records the end of the lock that the companion has as held.
local function close(token, how, at, release)
  grow()
  local ended = string.format('%s%013.0f%s%s', how, at, redis.sha1hex(token), string.sub(release, -12))
    .. younger(redis.call('HGET', KEYS[2], 'ended'), ENTRY, 2, ENTRIES, DAY)
  write('HSET', KEYS[2], 'version', version, 'expires', '', 'ended', ended)
end

-- Records a lock, as it stands in mark, version, expires, acquired, name, note.
local function open()
  write('HSET', KEYS[2], 'version', version, 'token', mark, 'expires', expires,
    'acquired', acquired, 'name', name, 'note', note)
end

-- How a token ended within the last day, and the release that ended it; false if
-- nothing is remembered of it.
local function fate(token, ended)
  local at = ended and string.find(ended, redis.sha1hex(token), 1, true)
  if not at or (tonumber(string.sub(ended, at - 13, at - 1)) or 0) <= now - DAY then
    return false
  end
  return string.sub(ended, at - 14, at - 14), string.sub(ended, at + 40, at + 51)
end

-- What every script returns:
--   1 what was decided     2 now, ms
--   3 version              4 the first VALUE bytes of the lock, nil: free
--   5 expires, ms; -1: none; 0: free
--   6 acquired, ms; 0: not known
--   7 name                 8 note
--   9 letter of how the token that was handed in ended; empty: not known
local function reply(decision, ended)
  return {decision, now, version, value and string.sub(value, 1, VALUE), expires, tonumber(acquired) or 0,
    name, note, ended or ''}
end

-- A companion that somebody damaged counts as lost.
if not version or version < 0 or version > LARGEST or version % 1 ~= 0
  or (held and not expiry) or (acquired ~= '' and not tonumber(acquired)) then
  redis.call('DEL', KEYS[2])
  seen, version, held, acquired, name, note = {}, 0, false, '', '', ''
end

-- Reconcile: what happened to the lock since this companion was written. A lapse
-- counts at the time of the expiry; anything else was another program's doing.
if held and seen[2] ~= mark then
  if expiry >= 0 and expiry <= now then
    close(seen[2], 'E', expiry, '............')
  else
    close(seen[2], 'X', now, '............')
  end
end
if value and not (held and seen[2] == mark) then
  grow()
  acquired, name, note = '', '', ''
  open()
  keep()
elseif not value then
  acquired, name, note = '', '', ''
  if held then
    keep()
  end
elseif expires ~= expiry then
  write('HSET', KEYS[2], 'expires', expires)
  keep()
end
