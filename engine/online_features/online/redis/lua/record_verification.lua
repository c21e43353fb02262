-- Records the last verification of a generation, unless the generation is gone.
--
-- KEYS[1]   the generation
-- ARGV[1]   the counts as JSON

if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('HSET', KEYS[1], 'verification', ARGV[1])
end
