-- Reads the generations of views of one project, as they are at one instant.
--
-- KEYS      the project's pointer; then per view: the list of its generations, its lease
-- ARGV      the names of the views
-- returns   { seconds, microseconds } of the server's clock; then per view three more: its field of the pointer, the
--           run that holds its lease (each '' for none), and its list as { field, value, … }

local clock = redis.call('TIME')
local found = { clock[1], clock[2] }

for i, name in ipairs(ARGV) do
  found[#found + 1] = redis.call('HGET', KEYS[1], name) or ''
  found[#found + 1] = redis.call('GET', KEYS[2 * i + 1]) or ''
  found[#found + 1] = redis.call('HGETALL', KEYS[2 * i])
end

return found
