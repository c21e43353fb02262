-- Rows that are strings. A row is one word. Of the layout: stamps_in(word), both timestamps and the flags of a row, and
-- tombstone(timestamp, created, flags).

local function row(at)
  local timestamp, created, flags = stamps_in(ARGV[at])
  return timestamp, created, at, at, flags
end

local function set(key, word, expiry)
  if expiry > 0 then
    redis.call('SET', key, word, 'PXAT', expiry)
  else
    redis.call('SET', key, word)
  end
end

local function put(key, first, _, expiry)
  set(key, ARGV[first], expiry)
end

local function bury(key, timestamp, created, expiry, flags)
  set(key, tombstone(timestamp, created, TOMBSTONE + flags), expiry)
end
