-- Writes rows, each only if it is not older than what its entity already has.
--
-- KEYS      the entity keys, one per row
-- ARGV      the layout's own words, then per row, in the order of KEYS:
--             end      milliseconds since the epoch at which the row or its tombstone expires, 0: never; with a minus
--                      sign if the row deletes its entity
--             …        the words of the row, as its layout has them
-- returns   { written, stale, expired, deleted }: the outcome of every row in exactly one of the counts

local minus = string.byte('-')

local written, stale, expired, deleted = 0, 0, 0, 0
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local at = own_words + 1

for _, key in ipairs(KEYS) do
  local expiry, is_deleted = math.abs(tonumber(ARGV[at])), string.byte(ARGV[at]) == minus
  local timestamp, created, first, last, flags = row(at + 1)
  at = last + 1

  local held_timestamp, held_created = stamp_of(key)
  local is_newest = not held_timestamp or is_before(held_timestamp, timestamp)
      or (held_timestamp == timestamp and not is_before(created, held_created))

  if expiry > 0 and expiry <= now and not is_deleted then
    if is_newest and held_timestamp then
      remove(key)
    end
    expired = expired + 1
  elseif not is_newest then
    stale = stale + 1
  elseif is_deleted then
    bury(key, timestamp, created, expiry, flags)
    deleted = deleted + 1
  else
    put(key, first, last, expiry, held_timestamp)
    written = written + 1
  end
end

return { written, stale, expired, deleted }
