-- Records a push in the generations that it has written to, if they are still those that the producer has read.
--
-- KEYS      the view's list of generations, the project's pointer, then each generation that the producer knows
-- ARGV[1]   name of the view
-- ARGV[2]   the version that the producer has read; '' to record nothing
-- ARGV[3]   newest event timestamp that was pushed; '' when none was
-- ARGV[4…]  per generation: how many rows could not be written to it; 0 when all were
-- ARGV[…]   field, value, …: what to record of how rows look in the last generation; nothing to leave that as it is
-- returns   the version as it is now: that of the list, the pointer, and two fingerprints of each generation
--
-- A push does not cover what else the source holds, so the watermark stays.

local generations = #KEYS - 2

local function version()
  local parts = { redis.call('HGET', KEYS[1], '@version') or '', redis.call('HGET', KEYS[2], ARGV[1]) or '' }
  for i = 3, #KEYS do
    local fingerprints = redis.call('HMGET', KEYS[i], 'fingerprint', 'schema_fingerprint')
    parts[#parts + 1] = (fingerprints[1] or '') .. ':' .. (fingerprints[2] or '')
  end
  return table.concat(parts, '|')
end

local now = version()
if now ~= ARGV[2] then
  return now
end

if ARGV[4 + generations] then
  redis.call('HSET', KEYS[#KEYS], unpack(ARGV, 4 + generations))
  return version()
end

local function record(generation, missed)
  -- A generation whose hash is lost must not seem to have one.
  if redis.call('EXISTS', generation) == 0 then
    return
  end
  if missed > 0 then
    redis.call('HINCRBY', generation, 'missed', missed)
    return
  end
  local newest = redis.call('HGET', generation, 'max_event_timestamp')
  if ARGV[3] ~= '' and (not newest or newest < ARGV[3]) then
    redis.call('HSET', generation, 'max_event_timestamp', ARGV[3])
  end
  redis.call('HSET', generation, 'pushed', '1')
end

for i = 1, generations do
  record(KEYS[2 + i], tonumber(ARGV[3 + i]))
end

return now
