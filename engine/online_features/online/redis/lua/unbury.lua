-- Removes the tombstones of entities that were erased; those of rows that the source marks as deleted stay.
--
-- KEYS      the entity keys
-- ARGV      the layout's own words, then the created timestamp of tombstones to remove
-- returns   the number of tombstones removed

local removed = 0

for _, key in ipairs(KEYS) do
  local timestamp, created, flags = stamp_of(key)
  if timestamp and is_tombstone(flags) and created == ARGV[own_words + 1] then
    remove(key)
    removed = removed + 1
  end
end

return removed
