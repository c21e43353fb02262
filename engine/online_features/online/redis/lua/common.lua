-- The first part of every script on rows. The functions of a layout (its own .lua file) follow, then string_rows.lua if
-- its rows are strings, then the script. The layout and string_rows.lua have together:
--
--   stamp_of(key)                               event timestamp, created timestamp and flags of what is at the key; false
--                                               when it is empty
--   row(at)                                     both timestamps of the row whose words begin at ARGV[at], the places of
--                                               the first and the last of the words to put, and its flags
--   put(key, first, last, expiry, is_replaced)  writes these words in place of what is at the key, if something is
--   bury(key, timestamp, created, expiry, flags)  leaves a tombstone in place of what is at the key; flags: 0 or PUSHED
--
-- A layout may have other timestamps than text, and another way to remove what is at a key, than the functions below.
--
-- ARGV[1] is the number of words that the layout has for itself, ARGV[2] the first of them.
--
-- A tombstone is a row without features. PUSHED marks what a producer has pushed. A row without a created timestamp is
-- older than one that has it at the same event timestamp.

local own_words = ARGV[1] + 1
local TOMBSTONE, PUSHED = 1, 2

local function is_tombstone(flags)
  return flags % 2 == TOMBSTONE
end

local no_created = ''

local function is_before(a, b)
  return a < b
end

local function remove(key)
  redis.call('DEL', key)
end

-- Timestamps as text have one width and order as the instants do. A damaged one is older than any other, so that its row
-- can be replaced and removed.
local unreadable = '0000-01-01T00:00:00.000000Z'

local function readable(timestamp)
  return #timestamp == #unreadable and string.sub(timestamp, -1) == 'Z' and timestamp or unreadable
end

-- The error of Redis for a key of another type does not name the key. A key may have any bytes.
local function of_row(key, reply)
  if type(reply) == 'table' and reply.err then
    error(reply.err .. ' (key ' .. string.gsub(key, '[^%w%p ]', '?') .. ')', 0)
  end
  return reply
end
