-- Layout "hash": a row is a hash, one field per feature that is not NULL.
--
-- A row's words: their number, then field, value, field, value, …; the first field is "_ts", and the second is
-- "_created" where the row has a created timestamp.

local function stamp_of(key)
  local stored = redis.call('HMGET', key, '_ts', '_created')
  return stored[1], stored[2] or ''
end

local function row(at)
  local first, last = at + 1, at + tonumber(ARGV[at])
  local created = ''
  if last > first + 1 and ARGV[first + 2] == '_created' then
    created = ARGV[first + 3]
  end
  return ARGV[first + 1], created, first, last
end

local function remove(key)
  redis.call('DEL', key)
end

local function put(key, first, last, expiry, is_replaced)
  if is_replaced then
    remove(key)
  end
  redis.call('HSET', key, unpack(ARGV, first, last))
  if expiry > 0 then
    redis.call('PEXPIREAT', key, expiry)
  end
end
