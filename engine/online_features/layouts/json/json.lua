-- Layout "json": a row is a string, one JSON object.
--
-- A row is one word, the object. Its timestamps are at fixed places: it begins with {"_ts":"<timestamp>" and, if the row
-- has a created timestamp, goes on with ,"_created":"<timestamp>".

local function stamps_in(object)
  local created = ''
  if string.sub(object, 37, 49) == ',"_created":"' then
    created = string.sub(object, 50, 76)
  end
  return string.sub(object, 9, 35), created
end

local function stamp_of(key)
  local stored = of_row(key, redis.pcall('GET', key))
  if not stored then
    return false, ''
  end
  local timestamp, created = stamps_in(stored)
  return readable(timestamp), created
end

local function row(at)
  local timestamp, created = stamps_in(ARGV[at])
  return timestamp, created, at, at
end

local function remove(key)
  redis.call('DEL', key)
end

local function put(key, first, last, expiry)
  if expiry > 0 then
    redis.call('SET', key, ARGV[first], 'PXAT', expiry)
  else
    redis.call('SET', key, ARGV[first])
  end
end
