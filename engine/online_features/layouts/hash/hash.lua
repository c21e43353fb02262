-- Layout "hash": a row is a hash, one field per feature that is not NULL.
--
-- A row's words: its event timestamp, its created timestamp and the hash as RESTORE takes it; or an empty word, the number
-- of words that follow, and field, value, field, value, …. The first field is "_ts", the second "_created" if the row has
-- a created timestamp.

local function stamp_of(key)
  local stored = of_row(key, redis.pcall('HMGET', key, '_ts', '_created'))
  return stored[1] and readable(stored[1]), stored[2] or ''
end

local function row(at)
  if ARGV[at] ~= '' then
    return ARGV[at], ARGV[at + 1], at + 2, at + 2
  end
  local count, created = tonumber(ARGV[at + 1]), ''
  if count > 2 and ARGV[at + 4] == '_created' then
    created = ARGV[at + 5]
  end
  return ARGV[at + 3], created, at + 2, at + 1 + count
end

local function remove(key)
  redis.call('DEL', key)
end

local function put(key, first, last, expiry, is_replaced)
  if first == last then
    -- Without a row, RESTORE fails only if the key holds something else.
    if is_replaced or redis.pcall('RESTORE', key, expiry, ARGV[first], 'ABSTTL').err then
      redis.call('RESTORE', key, expiry, ARGV[first], 'ABSTTL', 'REPLACE')
    end
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
