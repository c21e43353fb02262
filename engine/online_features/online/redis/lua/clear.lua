-- Removes rows and tombstones, whatever their timestamps.
--
-- KEYS      the entity keys
-- ARGV      the layout's own words

for _, key in ipairs(KEYS) do
  remove(key)
end
