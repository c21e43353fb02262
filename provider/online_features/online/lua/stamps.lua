-- Tells the timestamps of rows.
--
-- KEYS      the entity keys
-- ARGV      the layout's own words
-- returns   per key: the event timestamp ('' when there is no row) and the created timestamp ('' for none)

local stamps = {}

for _, key in ipairs(KEYS) do
  local timestamp, created = stamp_of(key)
  stamps[#stamps + 1] = timestamp or ''
  stamps[#stamps + 1] = created
end

return stamps
