-- Layout "hash": a row is a hash, one field per feature that is not NULL. A tombstone has its event timestamp in "_gone"
-- instead of "_ts". What a producer has pushed has the field "_pushed".
--
-- A row's words: the number of words that follow, and field, value, field, value, …. The first field is "_ts", then come
-- "_created" if the row has a created timestamp, and "_pushed" if a producer has pushed it.

local function stamp_of(key)
  local stored = of_row(key, redis.pcall('HMGET', key, '_ts', '_created', '_gone', '_pushed'))
  local created, flags = stored[2] or no_created, stored[4] and PUSHED or 0
  if stored[1] then
    return readable(stored[1]), created, flags
  elseif stored[3] then
    return readable(stored[3]), created, TOMBSTONE + flags
  end
  return false
end

local function row(at)
  local count, created, after = tonumber(ARGV[at]), no_created, at + 3
  if count > 2 and ARGV[after] == '_created' then
    created, after = ARGV[at + 4], at + 5
  end
  local is_pushed = after < at + count and ARGV[after] == '_pushed'
  return ARGV[at + 2], created, at + 1, at + count, is_pushed and PUSHED or 0
end

local function expire(key, expiry)
  if expiry > 0 then
    redis.call('PEXPIREAT', key, expiry)
  end
end

local function put(key, first, last, expiry, is_replaced)
  if is_replaced then
    remove(key)
  end
  redis.call('HSET', key, unpack(ARGV, first, last))
  expire(key, expiry)
end

local function bury(key, timestamp, created, expiry, flags)
  remove(key)
  redis.call('HSET', key, '_gone', timestamp, '_created', created)
  if flags == PUSHED then
    redis.call('HSET', key, '_pushed', '1')
  end
  expire(key, expiry)
end
