-- Erases entities and leaves tombstones, so that no older row brings them back.
--
-- KEYS      the entity keys
-- ARGV      the layout's own words, then
--             a created timestamp that no row has, so that rows with an equal event timestamp stay out, too
--             per key: the event timestamp up to which its rows stay out
-- returns   per key: 1 if it had a row, else 0, and the event timestamp of its tombstone
--
-- A tombstone has the timestamp of what it replaces if that is later. It never expires, because the view's ttl may become
-- longer.

local last_of_all = ARGV[own_words + 1]
local outcomes = {}

for i, key in ipairs(KEYS) do
  local till = ARGV[own_words + 1 + i]
  local timestamp, _, flags = stamp_of(key)
  outcomes[2 * i - 1] = timestamp and not is_tombstone(flags) and 1 or 0
  if timestamp and is_before(till, timestamp) then
    till = timestamp
  end
  bury(key, till, last_of_all, 0, 0)
  outcomes[2 * i] = till
end

return outcomes
