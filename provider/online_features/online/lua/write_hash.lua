-- Writes rows of layout "hash", each only if it is not older than what its entity already has.
--
-- KEYS      the entity keys, one per row
-- ARGV      per row, in the order of KEYS:
--             expiry   milliseconds since the epoch at which the row and its tombstone end; 0: never
--             deleted  1 when the row says that its entity is gone, else 0
--             count    number of words that follow
--             words    field, value, field, value, …; the first two are "_ts" and the event timestamp; where the
--                      row has a created timestamp, the next two are "_created" and that
-- returns   { written, stale, expired, deleted }: the outcome of every row in exactly one of the counts
--
-- Timestamps are texts of one width, so that they order as the instants do. A row without "_created" is older
-- than one with it at the same event timestamp. Both keys of an entity are in one slot: the braces see to it.

local written, stale, expired, deleted = 0, 0, 0, 0
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local at = 1

local function put(key, expiry, first, last)
  redis.call('HSET', key, unpack(ARGV, first, last))
  if expiry > 0 then
    redis.call('PEXPIREAT', key, expiry)
  end
end

for _, key in ipairs(KEYS) do
  local expiry, is_deleted, count = tonumber(ARGV[at]), ARGV[at + 1] == '1', tonumber(ARGV[at + 2])
  local first, last = at + 3, at + 2 + count
  at = last + 1

  local timestamp, created = ARGV[first + 1], ''
  if count > 2 and ARGV[first + 2] == '_created' then
    created = ARGV[first + 3]
  end

  local held = key
  local stored = redis.call('HMGET', key, '_ts', '_created')
  if not stored[1] then
    held = '@online_features:gone:{' .. key .. '}'
    stored = redis.call('HMGET', held, '_ts', '_created')
  end

  local is_past = expiry > 0 and expiry <= now
  local is_newest = not stored[1] or stored[1] < timestamp
      or (stored[1] == timestamp and (stored[2] or '') <= created)

  if is_newest and stored[1] then
    redis.call('DEL', held)
  end
  if is_past and not is_deleted then
    expired = expired + 1
  elseif not is_newest then
    stale = stale + 1
  elseif is_deleted then
    put('@online_features:gone:{' .. key .. '}', expiry, first, last)
    deleted = deleted + 1
  else
    put(key, expiry, first, last)
    written = written + 1
  end
end

return { written, stale, expired, deleted }
