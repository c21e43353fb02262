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

for _, key in ipairs(KEYS) do
  local timestamp, _, flags = stamp_of(key)
  if timestamp and not is_tombstone(flags) then
    erased = erased + 1
  end
  bury(key, timestamp and is_before(now, timestamp) and timestamp or now, last_of_all, 0)
end

return erased
