-- Changes what Redis keeps of generations, all of it or nothing, if what the change depends on is still as it was read.
--
-- KEYS      the keys that the change names by their number; in a cluster they share a slot
-- ARGV[1]   what is expected, as JSON: [[key, field, value], …]; value false: there is none; field '': the key holds
--           a string, not a hash
-- ARGV[2]   what to change, in the same form, with the milliseconds after which a string expires as a fourth part;
--           value false: remove the field, or the whole key
-- ARGV[3]   when the caller decided, in milliseconds by the server's clock
-- ARGV[4]   how many milliseconds later the change may still be made, since it may contain that instant
-- returns   1 if the change was made, 0 if something was not as expected, or the change came too late

local expected, changes = cjson.decode(ARGV[1]), cjson.decode(ARGV[2])

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
if math.abs(now - ARGV[3]) > tonumber(ARGV[4]) then
  return 0
end

for _, is in ipairs(expected) do
  local key, field, value = KEYS[is[1]], is[2], is[3]
  local held
  if field == '' then
    held = redis.call('GET', key)
  else
    held = redis.call('HGET', key, field)
  end
  if held ~= value then
    return 0
  end
end

for _, becomes in ipairs(changes) do
  local key, field, value, expiry = KEYS[becomes[1]], becomes[2], becomes[3], becomes[4]
  if field ~= '' and value then
    redis.call('HSET', key, field, value)
  elseif field ~= '' then
    redis.call('HDEL', key, field)
  elseif value then
    redis.call('SET', key, value, 'PX', expiry)
  else
    redis.call('UNLINK', key)
  end
end

return 1
