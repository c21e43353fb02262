-- Layout "msgpack": a row is a string, one MessagePack array. A tombstone has no features.
--
-- What the guard needs is at fixed places, by bytes from 1:
--
--   1 to 3     dc, and the number of items: 3, and one for each feature
--   4 to 12    cf, and the event timestamp: microseconds since the beginning of the year 1, plus 1
--   13 to 21   cf, and the created timestamp, in the same way; 0 if there is none
--   22         the flags
--
-- Timestamps are unsigned, of 64 bits, big-endian. Numbers in Lua hold 53 bits, so their halves are compared, and not
-- strings, whose order goes by the locale of the server.

local no_created = string.rep('\0', 8)

-- A damaged timestamp is older than any other, so that its row can be replaced and removed. The last that is not is the
-- end of the year 9999.
local unreadable = no_created
local last = struct.pack('>I4I4', 73466891, 3416203264)
local last_first = string.byte(last, 1)  -- most timestamps begin with a smaller byte, and need no closer look

local function is_before(a, b)
  local a_high, a_low = struct.unpack('>I4I4', a)
  local b_high, b_low = struct.unpack('>I4I4', b)
  return a_high < b_high or (a_high == b_high and a_low < b_low)
end

local function stamps_in(array)
  return string.sub(array, 5, 12), string.sub(array, 14, 21), string.byte(array, 22)
end

local function stamp_of(key)
  local stored = of_row(key, redis.pcall('GETRANGE', key, 0, 21))
  if stored == '' then
    return false
  end
  local head, _, _, event_head, first = string.byte(stored, 1, 5)
  if #stored < 22 or head ~= 0xdc or event_head ~= 0xcf or string.byte(stored, 13) ~= 0xcf then
    return unreadable, no_created, 0
  end
  local timestamp, created, flags = stamps_in(stored)
  if first >= last_first and is_before(last, timestamp) then
    timestamp = unreadable
  end
  return timestamp, created, flags
end

local function tombstone(timestamp, created, flags)
  return '\220\0\3\207' .. timestamp .. '\207' .. created .. string.char(flags)
end
