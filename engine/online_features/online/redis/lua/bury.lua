-- Leaves tombstones at entities that have no newer row or tombstone.
--
-- KEYS      the entity keys
-- ARGV      the layout's own words, then per key: event timestamp and created timestamp

for i = 1, rows do
  local key = key_of(i)
  local at = own_words + 2 * i
  local timestamp, created = ARGV[at - 1], ARGV[at]
  local held_timestamp, held_created = stamp_of(key)
  local has_row = held_timestamp
  if not has_row then
    held_timestamp, held_created = stamp_of_tombstone(key)
  end
  -- A tombstone that is there already keeps its expiry.
  if not held_timestamp or held_timestamp < timestamp
      or (held_timestamp == timestamp and held_created < created) then
    if has_row then
      remove(key)
    end
    bury(key, timestamp, created, 0)
  end
end
