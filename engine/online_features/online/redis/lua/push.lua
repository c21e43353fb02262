-- Records a push in the state of its view, if the state is still the one that the producer last read.
--
-- KEYS[1]   state of the view
-- ARGV[1]   the version of the state that the producer last read; '' to read it only
-- ARGV[2]   newest event timestamp that was pushed; '' when none was
-- ARGV[3…]  field, value, …: what to record of how rows look; nothing to leave that as it is
-- returns   the version of the state as it is now: fingerprints of definition and schema
--
-- A push does not cover what else the source holds, so the watermark stays.

local state = KEYS[1]

local function version()
  local fingerprints = redis.call('HMGET', state, 'fingerprint', 'schema_fingerprint')
  return (fingerprints[1] or '') .. ':' .. (fingerprints[2] or '')
end

local now = version()
if now ~= ARGV[1] then
  return now
end

if ARGV[3] then
  redis.call('HSET', state, unpack(ARGV, 3))
  now = version()
end

local newest = redis.call('HGET', state, 'max_event_timestamp')
if ARGV[2] ~= '' and (not newest or newest < ARGV[2]) then
  redis.call('HSET', state, 'max_event_timestamp', ARGV[2])
end

return now
