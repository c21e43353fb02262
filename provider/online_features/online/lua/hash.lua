-- Layout "hash": a row is a hash, one field per feature that is not NULL.
--
-- A row's words: the number of what follows, then either three, its event timestamp, its created timestamp and the hash
-- as RESTORE takes it; or field, value, field, value, …, of which the first is "_ts", and the second "_created" where
-- the row has a created timestamp.

local PACKED = 3

local function stamp_of(key)
  local stored = redis.call('HMGET', key, '_ts', '_created')
  return stored[1], stored[2] or ''
end

local function row(at)
  local count = tonumber(ARGV[at])
  if count == PACKED then
    return ARGV[at + 1], ARGV[at + 2], at + 3, at + 3
  end
  local created = ''
  if ARGV[at + 3] == '_created' and count > 2 then
    created = ARGV[at + 4]
  end
  return ARGV[at + 2], created, at + 1, at + count
end

local function remove(key)
  redis.call('DEL', key)
end

local function put(key, first, last, expiry, is_replaced)
  if first == last then
    redis.call('RESTORE', key, expiry, ARGV[first], 'ABSTTL', 'REPLACE')
    return
  end
  if is_replaced then
    remove(key)
  end
  redis.call('HSET', key, unpack(ARGV, first, last))
  if expiry > 0 then
    redis.call('PEXPIREAT', key, expiry)
  end
end
