-- What every guarded script begins with; the functions of a layout (hash.lua, json.lua) follow, then the script.
--
-- Timestamps are texts of one width, so that they order as the instants do. A row without a created timestamp has
-- the empty text for it and is older than one that has it at the same event timestamp.
--
-- The tombstone of a deleted entity is a hash of its own. The braces put both keys into one slot of a cluster.

local function tombstone_of(key)
  return '@online_features:gone:{' .. key .. '}'
end

local function bury(key, timestamp, created, expiry)
  local tombstone = tombstone_of(key)
  redis.call('HSET', tombstone, '_ts', timestamp, '_created', created)
  if expiry > 0 then
    redis.call('PEXPIREAT', tombstone, expiry)
  end
end

local function stamp_of_tombstone(key)
  local buried = redis.call('HMGET', tombstone_of(key), '_ts', '_created')
  return buried[1], buried[2] or ''
end
