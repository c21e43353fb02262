-- Records erased entities; of two erasures of an entity, the later instant stays.
--
-- KEYS[1]   a bucket of the view's erased entities
-- ARGV      per entity: its field, and the event timestamp up to which its rows stay out, as a text of one width

for i = 1, #ARGV, 2 do
  local held = redis.call('HGET', KEYS[1], ARGV[i])
  if not held or held < ARGV[i + 1] then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end
