-- Writes rows, each only if it is not older than what its entity already has.
--
-- KEYS      the entity keys, one per row; then the state of the view, if the version is given
-- ARGV      the layout's own words, then
--             the version of the state under which the rows were encoded, as push.lua returns it; '' for any, and
--             always in a cluster, where the state may be on another node
--           then per row, in the order of KEYS:
--             end      milliseconds since the epoch at which the row and its tombstone expire, 0: never; with a minus
--                      sign if the row deletes its entity
--             …        the words of the row, as its layout has them
-- returns   an error that begins with CHANGED, and writes nothing, when the version is another; else
--           { written, stale, expired, deleted }: the outcome of every row in exactly one of the counts

local minus = string.byte('-')

local written, stale, expired, deleted = 0, 0, 0, 0
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local version = ARGV[own_words + 1]
local at = own_words + 2
local may_be_buried = has_burials(KEYS[1])

if version ~= '' then
  local fingerprints = redis.call('HMGET', KEYS[#KEYS], 'fingerprint', 'schema_fingerprint')
  if (fingerprints[1] or '') .. ':' .. (fingerprints[2] or '') ~= version then
    return redis.error_reply('CHANGED is the state of the feature view')
  end
  rows = rows - 1
end

for i = 1, rows do
  local key = key_of(i)
  local expiry, is_deleted = math.abs(tonumber(ARGV[at])), string.byte(ARGV[at]) == minus
  local timestamp, created, first, last = row(at + 1)
  at = last + 1

  local held_timestamp, held_created = stamp_of(key)
  local has_row = held_timestamp
  if not has_row and may_be_buried then
    held_timestamp, held_created = stamp_of_tombstone(key)
  end

  local is_past = expiry > 0 and expiry <= now
  local is_newest = not held_timestamp or held_timestamp < timestamp
      or (held_timestamp == timestamp and held_created <= created)

  local goes_online = is_newest and not is_deleted and not is_past

  if is_newest and has_row and not goes_online then
    remove(key)
  elseif is_newest and held_timestamp and not has_row then
    unbury(key)
  end
  if is_past and not is_deleted then
    expired = expired + 1
  elseif not is_newest then
    stale = stale + 1
  elseif is_deleted then
    bury(key, timestamp, created, expiry)
    may_be_buried = true
    deleted = deleted + 1
  else
    put(key, first, last, expiry, has_row)
    written = written + 1
  end
end

return { written, stale, expired, deleted }
