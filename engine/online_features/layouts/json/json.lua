-- Layout "json": a row is a string, one JSON object. A tombstone has no features.
--
-- A row is one word, the object. What the guard needs is at fixed places: the object begins with
-- {"_ts":"<timestamp>","_flags":<digit> and, if the row has a created timestamp, goes on with ,"_created":"<timestamp>".

local no_created = ''

local function is_before(a, b)
  return a < b
end

local function stamps_in(object)
  local created = no_created
  if string.sub(object, 48, 60) == ',"_created":"' then
    created = string.sub(object, 61, 87)
  end
  return string.sub(object, 9, 35), created, tonumber(string.sub(object, 47, 47)) or 0
end

local function stamp_of(key)
  local stored = of_row(key, redis.pcall('GET', key))
  if not stored then
    return false
  end
  local timestamp, created, flags = stamps_in(stored)
  return readable(timestamp), created, flags
end

local function row(at)
  local timestamp, created, flags = stamps_in(ARGV[at])
  return timestamp, created, at, at, flags
end

local function remove(key)
  redis.call('DEL', key)
end

local function set(key, object, expiry)
  if expiry > 0 then
    redis.call('SET', key, object, 'PXAT', expiry)
  else
    redis.call('SET', key, object)
  end
end

local function put(key, first, _, expiry)
  set(key, ARGV[first], expiry)
end

local function bury(key, timestamp, created, expiry, flags)
  if created ~= no_created then
    created = ',"_created":"' .. created .. '"'
  end
  set(key, '{"_ts":"' .. timestamp .. '","_flags":' .. TOMBSTONE + flags .. created .. '}', expiry)
end
