-- Erases entities and leaves tombstones, so that no older row brings them back.
--
-- KEYS      the entity keys
-- ARGV      the layout's own words, then
--             the present, as event timestamps are written
--             a created timestamp that no row has, so that rows with an equal event timestamp stay out, too
-- returns   the number of entities that were there
--
-- A tombstone has the timestamp of the row that it replaces if that is in the future, else the present. It never
-- expires, because the view's ttl may become longer.

local now, last_of_all = ARGV[own_words + 1], ARGV[own_words + 2]
local erased = 0

for i = 1, rows do
  local key = key_of(i)
  local timestamp = stamp_of(key)
  if timestamp then
    erased = erased + 1
    remove(key)
  else
    timestamp = stamp_of_tombstone(key)
  end
  unbury(key)
  if timestamp and timestamp > now then
    bury(key, timestamp, last_of_all, 0)
  else
    bury(key, now, last_of_all, 0)
  end
end

return erased
