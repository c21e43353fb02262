-- Erases entities of layout "hash" and leaves tombstones, so that no older row brings them back.
--
-- KEYS      the entity keys
-- ARGV[1]   the present, as event timestamps are written
-- ARGV[2]   milliseconds since the epoch at which the tombstones end; 0: never
-- returns   the number of entities that were there
--
-- A tombstone is as new as the row it stands for, where that is from the future, else as new as the present.

local now, expiry = ARGV[1], tonumber(ARGV[2])
local erased = 0

for _, key in ipairs(KEYS) do
  local tombstone = '@online_features:gone:{' .. key .. '}'
  local held = redis.call('HMGET', key, '_ts', '_created')
  local buried = redis.call('HGET', tombstone, '_ts')
  erased = erased + redis.call('DEL', key)

  if held[1] and held[1] > now then
    redis.call('HSET', tombstone, '_ts', held[1], '_created', held[2] or '')
  elseif not buried or buried < now then
    redis.call('DEL', tombstone)
    redis.call('HSET', tombstone, '_ts', now)
  end
  if expiry > 0 then
    redis.call('PEXPIREAT', tombstone, expiry)
  end
end

return erased
