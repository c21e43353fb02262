-- Leaves tombstones at entities that have no newer row or tombstone.
--
-- KEYS      the entity keys
-- ARGV      the layout's own words, then per key: event timestamp and created timestamp

for i, key in ipairs(KEYS) do
  local at = own_words + 2 * i
  local timestamp, created = ARGV[at - 1], ARGV[at]
  local held_timestamp, held_created = stamp_of(key)
  -- A tombstone that is there already keeps its expiry.
  if not held_timestamp or is_before(held_timestamp, timestamp)
      or (held_timestamp == timestamp and is_before(held_created, created)) then
    bury(key, timestamp, created, 0, 0)
  end
end
