-- Runs at the head of every script.
--
-- KEYS[1]  the lock: a string, the lock's value; absent: the spool is free
-- KEYS[2]  the companion, a hash:
--            version     fencing version of the spool
--            token       value of the lock that was last seen; SHA-1 of a value
--                        that is longer than TOKEN
--            expires     its expiry, ms; -1: none; empty: that lock has ended
--            acquired    when it was taken, ms; empty: not known
--            name, note  of its owner; empty: none
--            ended       how tokens ended, newest first, see ENTRY
--            barred      tokens that may never take, newest first, see BAR
--            extensions  version of the lock it belongs to, then the extensions
--                        applied to it, newest first, see EXTENSION in extend.lua
--            seq         how many changes of the spool were recorded and published
-- KEYS[3]  the history, a list of events, newest first, see record_event()
-- ARGV[1]  how long the companion and the history are kept after a change, ms
-- ARGV[2]  the channel on which changes are published, see reply()
--
-- Every script returns the ten values of reply(), and more where it says so.
--
-- Times are Unix times in milliseconds on the clock of this server. Numbers are
-- handed to redis.call as they are, which prints 17 digits; tostring would round
-- them to 14.

local DAY = 86400000
local VALUE = 256               -- bytes of a lock's value in which its owner is looked for
local TOKEN = 640               -- bytes of the longest value that can be handed in: 160 characters
local NEVER = 253402300799999   -- the end of the year 9999: no expiry is later
local LARGEST = 9007199254740991 -- 2^53-1, the largest version
local EVENTS = 100              -- of a spool that are kept

-- ENTRY: 66 bytes, the letter of how it ended, when (13 digits), SHA-1 of the
-- token, the last 12 characters of the release that ended it. A digest, because
-- other programs' tokens may have any length, and because nothing else is needed.
local ENTRY, ENTRIES = 66, 64

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local value = redis.call('GET', KEYS[1])
local expires = value and math.min(redis.call('PEXPIRETIME', KEYS[1]), NEVER) or 0
local companion = redis.pcall('HMGET', KEYS[2], 'version', 'token', 'expires', 'acquired', 'name', 'note', 'seq')
if companion.err then
  redis.call('DEL', KEYS[2]) -- no hash: it was damaged, and counts as lost
  companion = {}
end
local version = tonumber(companion[1] or 0)
local was_held = companion[3] and companion[3] ~= ''
local known_expires = was_held and tonumber(companion[3])
local acquired, name, note = companion[4] or '', companion[5] or '', companion[6] or ''
local seq = tonumber(companion[7] or 0)
local stored = value and #value > TOKEN and redis.sha1hex(value) or value
local changed = false           -- whether this run changed the spool, or found it changed

-- Writes to companion and history. A Redis that is full, or cannot write to its disk, is
-- to answer who holds a spool all the same: then nothing more is recorded, and the next
-- script finds the same. The lock's own key is never written this way.
local refused = false
local function write(...)
  local answer = not refused and redis.pcall(...)
  if type(answer) == 'table' and answer.err then
    refused = string.find(answer.err, '^OOM') or string.find(answer.err, '^MISCONF')
    if not refused then
      return redis.call(...) -- says the error itself
    end
  end
  return answer
end

local function raise_version()
  version = math.max(version + 1, now)
  changed = true
end

local function digits(n)
  return string.format('%.0f', n)
end

-- The owner that a lock's value names, never the whole value; empty: it names none.
local function owner_of(token)
  return string.match(string.sub(token, 1, VALUE), '^([^:]+):') or ''
end

-- Puts an event at the head of the history: a JSON array of texts, its type, the
-- version of the spool after it, when it happened, the owner, the owner's name and
-- note, and when the lock ends (-1: never; 0: it has ended); and what else there is to
-- say, see force.lua. Extensions of one lock that follow each other are one event, the
-- last. Returns the event.
local function record_event(kind, at, token, ends, ...)
  local head = cjson.encode({kind, digits(version)})
  local event = cjson.encode({kind, digits(version), digits(at), owner_of(token), name, note, digits(ends), ...})
  local newest = redis.pcall('LINDEX', KEYS[3], 0)
  if type(newest) == 'table' then
    write('DEL', KEYS[3]) -- no list: it was damaged, and counts as lost
  elseif kind == 'EXTENDED' and newest and string.sub(newest, 1, #head) == string.sub(head, 1, -2) .. ',' then
    write('LSET', KEYS[3], 0, event)
    return event
  end
  local events = write('LPUSH', KEYS[3], event)
  if not refused and events > EVENTS then
    write('LTRIM', KEYS[3], 0, EVENTS - 1)
  end
  return event
end

-- Lets companion and history expire ARGV[1] from now, and at least a day after the lock,
-- so that it is known how the lock ended. Those of a lock without an expiry stay until a
-- script finds the lock gone.
local function renew_memory()
  for i = 2, 3 do
    if value and expires == -1 then
      write('PERSIST', KEYS[i])
    else
      write('PEXPIREAT', KEYS[i], math.max(now + ARGV[1], expires + DAY))
    end
  end
end

-- A list of entries of size bytes without the oldest, so that one more makes at most most
-- of them, and without those that are older than age, ms. at is where the 13 digits of
-- their time begin. A list that is no multiple of size long was damaged, and is lost.
local function prune(list, size, at, most, age)
  if not list or #list % size ~= 0 then
    return ''
  end
  local kept = math.min(#list / size, most - 1)
  while kept > 0 and (tonumber(string.sub(list, (kept - 1) * size + at, (kept - 1) * size + at + 12)) or 0) <= now - age do
    kept = kept - 1
  end
  return string.sub(list, 1, kept * size)
end

-- How a lock ended: the letter in ENTRY, and the type of the event.
local END_EVENT = {R = 'RELEASED', E = 'EXPIRED', F = 'FORCE_RELEASED', X = 'RELEASED_EXTERNALLY'}

-- The list of ended tokens with one more. S is the letter of one that was replaced.
local function add_ended(token, how, at, release)
  return string.format('%s%013.0f%s%s', how, at, redis.sha1hex(token), string.sub(release, -12))
    .. prune(redis.call('HGET', KEYS[2], 'ended'), ENTRY, 2, ENTRIES, DAY)
end

-- Records the end of the lock that the companion has as held, with what else the event
-- has to say, which it returns. release is the id of a release, or twelve dots.
local function record_end(token, how, at, release, ...)
  raise_version()
  local event = record_event(END_EVENT[how], at, token, 0, ...)
  write('HSET', KEYS[2], 'version', version, 'expires', '', 'ended', add_ended(token, how, at, release))
  return event
end

-- Records a lock, as it stands in stored, version, expires, acquired, name, note.
local function record_lock(kind)
  record_event(kind, now, value, expires)
  write('HSET', KEYS[2], 'version', version, 'token', stored, 'expires', expires,
    'acquired', acquired, 'name', name, 'note', note)
end

-- Writes what is there already, for replicas to confirm: WAIT asks about the writes of its
-- own connection, and the change may have been made on an earlier one.
local function write_for_replicas()
  write('HSET', KEYS[2], 'version', version)
end

-- How a token ended within the last day, and the release that ended it; false if
-- nothing is remembered of it.
local function how_ended(token, ended)
  local at = ended and string.find(ended, redis.sha1hex(token), 1, true)
  if not at or (tonumber(string.sub(ended, at - 13, at - 1)) or 0) <= now - DAY then
    return false
  end
  return string.sub(ended, at - 14, at - 14), string.sub(ended, at + 40, at + 51)
end

-- Publishes the spool as it stands, if it changed: a JSON array of texts, the tag,
-- the number of this change, now, version, owner, expires, acquired, name, note;
-- expires is 0 where the spool is free. The number stays where Redis refuses to
-- write it down. A Redis user without the right to publish can work all the same: beats
-- need the same right, so no view then takes itself for live.
local function publish()
  if changed then
    write('HSET', KEYS[2], 'seq', seq + 1)
    seq = refused and seq or seq + 1
    redis.pcall('PUBLISH', ARGV[2], cjson.encode({
      string.sub(KEYS[1], #'spool_lock:' + 1), digits(seq), digits(now), digits(version),
      value and owner_of(value) or '', digits(expires), digits(tonumber(acquired) or 0), name, note}))
  end
end

-- What every script returns:
--   1 what was decided     2 now, ms
--   3 version              4 the first VALUE bytes of the lock, nil: free
--   5 expires, ms; -1: none; 0: free
--   6 acquired, ms; 0: not known
--   7 name                 8 note
--   9 letter of how the token that was handed in ended; empty: not known
--  10 seq
local function reply(decision, ended)
  publish()
  return {decision, now, version, value and string.sub(value, 1, VALUE), expires, tonumber(acquired) or 0,
    name, note, ended or '', seq}
end

-- A damaged companion counts as lost.
if not version or version < 0 or version > LARGEST or version % 1 ~= 0
  or (was_held and not known_expires) or (acquired ~= '' and not tonumber(acquired))
  or not seq or seq < 0 or seq >= LARGEST or seq % 1 ~= 0 then
  redis.call('DEL', KEYS[2])
  companion, version, was_held, acquired, name, note, seq = {}, 0, false, '', '', '', 0
end

-- Reconcile: what happened to the lock since this companion was written. An expiry
-- counts at its own time; anything else was another program's doing.
if was_held and companion[2] ~= stored then
  if known_expires >= 0 and known_expires <= now then
    record_end(companion[2], 'E', known_expires, '............')
  else
    record_end(companion[2], 'X', now, '............')
  end
end
if value and not (was_held and companion[2] == stored) then
  raise_version()
  acquired, name, note = '', '', ''
  record_lock('TAKEN_EXTERNALLY')
  renew_memory()
elseif not value then
  acquired, name, note = '', '', ''
  if was_held then
    renew_memory()
  end
elseif expires ~= known_expires then
  changed = true
  write('HSET', KEYS[2], 'expires', expires)
  renew_memory()
end
