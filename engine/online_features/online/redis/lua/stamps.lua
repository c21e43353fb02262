-- Returns the timestamps of rows.
--
-- KEYS      the entity keys
-- ARGV      the layout's own words
-- returns   per key: the event timestamp ('' when there is no row) and the created timestamp ('' for none)

local stamps = {}

for i = 1, rows do
  local key = key_of(i)
  local timestamp, created = stamp_of(key)
  stamps[#stamps + 1] = timestamp or ''
  stamps[#stamps + 1] = created
end

return stamps
