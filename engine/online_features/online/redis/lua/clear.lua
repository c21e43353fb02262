-- Removes rows, whatever their timestamps.
--
-- KEYS      the entity keys
-- ARGV      the layout's own words

for i = 1, rows do
  local key = key_of(i)
  remove(key)
end
