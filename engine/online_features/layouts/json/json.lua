-- Layout "json": a row is a string, one JSON object. A tombstone has no features.
--
-- What the guard needs is at fixed places: the object begins with
-- {"_ts":"<timestamp>","_flags":<digit> and, if the row has a created timestamp, goes on with ,"_created":"<timestamp>".

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

local function tombstone(timestamp, created, flags)
  if created ~= no_created then
    created = ',"_created":"' .. created .. '"'
  end
  return '{"_ts":"' .. timestamp .. '","_flags":' .. flags .. created .. '}'
end
