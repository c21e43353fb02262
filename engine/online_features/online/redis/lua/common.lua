-- The first part of every script on rows, after two variables that scripts.py sets:
--
--   in_cluster     whether Redis is a cluster
--   keys_per_row   2 if each key of a row in KEYS is followed by the key of its tombstone, else 1
--
-- The functions of a layout (its own .lua file) follow, then the script:
--
--   stamp_of(key)                               timestamps of the row at the key, or false and ''
--   row(at)                                     timestamps of the row whose words begin at ARGV[at], and the places of
--                                               the first and the last of the words to put
--   put(key, first, last, expiry, is_replaced)  writes these words in place of the row at the key, if there is one
--   remove(key)                                 removes the row at the key
--
-- ARGV[1] is the number of words that the layout has for itself, ARGV[2] the first of them.
--
-- Timestamps are texts of one width, so that they order as the instants do. A row without a created timestamp has
-- the empty text for it and is older than one that has it at the same event timestamp.
--
-- The tombstone of a deleted entity is a hash of its own, unless the layout defines it otherwise. The braces put both
-- keys into one slot of a cluster. There, calls name both keys: while a slot moves, a row must not be written to
-- another node than the one that has its tombstone.

local own_words = ARGV[1] + 1
local rows = #KEYS / keys_per_row

local function key_of(i)
  return KEYS[(i - 1) * keys_per_row + 1]
end

-- A row whose timestamp is damaged is older than any other, so that it can be replaced and removed.
local unreadable = '0000-01-01T00:00:00.000000Z'

local function readable(timestamp)
  return #timestamp == #unreadable and string.sub(timestamp, -1) == 'Z' and timestamp or unreadable
end

-- The error of Redis for a key of another type does not name the key. A key may have any bytes.
local function of_row(key, reply)
  if type(reply) == 'table' and reply.err then
    error(reply.err .. ' (key ' .. string.gsub(key, '[^%w%p ]', '?') .. ')', 0)
  end
  return reply
end

-- The first tombstone of a view is marked for good, so that writes to views without tombstones need not look for them,
-- which is a fifth of the work on a new entity. In a cluster the mark would be on one node of many.

local function tombstone_of(key)
  return '@online_features:gone:{' .. key .. '}'
end

local function mark_of_burials(key)
  return '@online_features:burials:{' .. string.match(key, '^[^:]+:[^:]+') .. '}'
end

local function has_burials(key)
  return in_cluster or redis.call('EXISTS', mark_of_burials(key)) == 1
end

local function bury(key, timestamp, created, expiry)
  if not in_cluster then
    redis.call('SET', mark_of_burials(key), '1')
  end
  local tombstone = tombstone_of(key)
  redis.call('HSET', tombstone, '_ts', timestamp, '_created', created)
  if expiry > 0 then
    redis.call('PEXPIREAT', tombstone, expiry)
  end
end

local function unbury(key)
  redis.call('DEL', tombstone_of(key))
end

local function stamp_of_tombstone(key)
  local buried = redis.call('HMGET', tombstone_of(key), '_ts', '_created')
  return buried[1], buried[2] or ''
end
