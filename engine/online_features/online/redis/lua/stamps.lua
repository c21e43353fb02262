-- Returns the timestamps of rows.
--
-- KEYS      the entity keys
-- ARGV      the layout's own words
-- returns   per key: event timestamp, created timestamp, flags; '', '' and 0 when there is nothing

local stamps = {}

for _, key in ipairs(KEYS) do
  local timestamp, created, flags = stamp_of(key)
  stamps[#stamps + 1] = timestamp or ''
  stamps[#stamps + 1] = created or ''
  stamps[#stamps + 1] = flags or 0
end

return stamps
