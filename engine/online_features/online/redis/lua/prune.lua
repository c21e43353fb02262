-- Removes entities that the source no longer has, unless they were written since.
--
-- KEYS      the entity keys
-- ARGV      the layout's own words, then per key: the event timestamp and the created timestamp that its row had when it
--           was read
-- returns   the number of entities removed

local removed = 0

for i, key in ipairs(KEYS) do
  local timestamp, created = stamp_of(key)
  if timestamp == ARGV[own_words + 2 * i - 1] and created == ARGV[own_words + 2 * i] then
    remove(key)
    removed = removed + 1
  end
end

return removed
