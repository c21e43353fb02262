-- Layout "feast": a row is some fields of a hash, which also holds the rows that other views have of the entity. It is
-- as Feast writes it, so that Feast reads and guards it, too.
--
-- The layout's own words: seconds that the hash lives after a write (0: for ever), how many fields a row has, the field of
-- the tombstone, the field of the row's timestamp, the fields of its features, those of features that have left the view.
-- A row's words: event timestamp, created timestamp ('' for none), then the values of its fields, in their order.
--
-- A row online has no created timestamp: Feast's format has no place for it.

local key_ttl, fields, tombstone_field, timestamp_field = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], ARGV[5]
local whole = {}
for i = 1, fields do
  whole[2 * i - 1] = ARGV[i + 4]
end

-- Returns the base-128 number at a place in a protobuf message, and the place after it. A negative number takes ten bytes
-- of two's complement, more than Lua's numbers hold; its complement is small.
-- https://protobuf.dev/programming-guides/encoding/#varints
local function varint(message, at)
  local value, complement, scale = 0, 0, 1
  for place = 0, 8 do
    local byte = string.byte(message, at + place)
    local digit = byte % 128
    value, complement = value + digit * scale, complement + (127 - digit) * scale
    if byte < 128 then
      return value, at + place + 1
    end
    scale = scale * 128
  end
  return -complement - 1, at + 10
end

-- Returns year, month and day of a day since 1970-01-01, https://howardhinnant.github.io/date_algorithms.html#civil_from_days
local function civil(day)
  local z = day + 719468
  local era = math.floor(z / 146097)
  local day_of_era = z - era * 146097
  local year_of_era = math.floor((day_of_era - math.floor(day_of_era / 1460) + math.floor(day_of_era / 36524)
      - math.floor(day_of_era / 146096)) / 365)
  local day_of_year = day_of_era - (365 * year_of_era + math.floor(year_of_era / 4) - math.floor(year_of_era / 100))
  local shifted = math.floor((5 * day_of_year + 2) / 153)
  local month = shifted < 10 and shifted + 3 or shifted - 9
  local year = year_of_era + era * 400 + (month <= 2 and 1 or 0)
  return year, month, day_of_year - math.floor((153 * shifted + 2) / 5) + 1
end

-- Returns a google.protobuf.Timestamp as other layouts write timestamps. Digits beyond microseconds come last, which
-- makes the text greater.
local function instant(message)
  local seconds, nanos, at = 0, 0, 1
  while at <= #message do
    local tag = string.byte(message, at)
    if tag == 8 then
      seconds, at = varint(message, at + 1)
    elseif tag == 16 then
      nanos, at = varint(message, at + 1)
    else
      error('not a timestamp of Feast')
    end
  end
  local day = math.floor(seconds / 86400)
  local rest = seconds - day * 86400
  local year, month, day_of_month = civil(day)
  local micros = math.floor(nanos / 1000)
  local text = string.format('%04d-%02d-%02dT%02d:%02d:%02d.%06dZ', year, month, day_of_month,
    math.floor(rest / 3600), math.floor(rest / 60) % 60, rest % 60, micros)
  if nanos > micros * 1000 then
    text = text .. string.format('%03d', nanos - micros * 1000)
  end
  return text
end

-- The tombstone is a field of the same hash, for one view.
local function stamp_of(key)
  local stored = of_row(key, redis.pcall('HMGET', key, timestamp_field, tombstone_field))
  if stored[1] then
    local is_readable, timestamp = pcall(instant, stored[1])
    return is_readable and timestamp or unreadable, no_created, 0
  elseif stored[2] then
    local timestamp, created = string.match(stored[2], '^(%S+) (%S*)$')
    return timestamp or unreadable, created or no_created, TOMBSTONE
  end
  return false
end

local function row(at)
  return ARGV[at], ARGV[at + 1], at + 2, at + 1 + fields, 0
end

local function remove(key)
  redis.call('HDEL', key, unpack(ARGV, 4, own_words))
end

-- It never expires, because rows of this layout are written whatever their age.
local function bury(key, timestamp, created)
  remove(key)
  redis.call('HSET', key, tombstone_field, timestamp .. ' ' .. created)
end

local function put(key, first, _, _, is_replaced)
  if is_replaced then
    redis.call('HDEL', key, tombstone_field, unpack(ARGV, fields + 5, own_words))
  end
  for i = 1, fields do
    whole[2 * i] = ARGV[first + i - 1]
  end
  redis.call('HSET', key, unpack(whole, 1, 2 * fields))
  if key_ttl > 0 then
    redis.call('EXPIRE', key, key_ttl)
  end
end
