-- The history of a view's runs, for the scripts that end one: a list of JSON, newest first.
--
-- A record begins with its fields in order, as Python's json writes them: "began": "…", "ended": "…". One of a run that
-- did nothing has "runs": 1 and "nothing": "…" and joins the newest record if that has the same text there. For a user
-- who may not read the history, no records are joined and no old ones removed.

-- The most records that a script reads; that many are kept, however old they are.
local SEARCHED = 100

local function has_ended(runs, id)
  for _, ended in ipairs(redis.pcall('LRANGE', runs, 0, SEARCHED - 1)) do
    if string.find(ended, id, 1, true) then
      return true
    end
  end
  return false
end

-- Returns the record of both runs if the newest one in the history did nothing either, for the same reason.
local function joined(runs, record)
  local nothing = string.match(record, '"nothing": "[^"]*"')
  local newest = nothing and redis.pcall('LRANGE', runs, 0, 0)[1]
  if not newest or not string.find(newest, nothing, 1, true) then
    return nil
  end
  local began, count = string.match(newest, '"began": "([^"]*)"'), string.match(newest, '"runs": (%d+)')
  if not began or not count then
    return nil
  end
  record = string.gsub(record, '"began": "[^"]*"', '"began": "' .. began .. '"', 1)
  return (string.gsub(record, '"runs": %d+', '"runs": ' .. (count + 1), 1))
end

-- Adds a record, and removes those beyond the number to keep and those that ended before an instant.
local function add_record(runs, record, kept, oldest)
  local both = joined(runs, record)
  if both then
    redis.call('LTRIM', runs, 1, -1)
  end
  local length = redis.call('LPUSH', runs, both or record)
  redis.call('LTRIM', runs, 0, kept - 1)
  length = math.min(length, kept)
  local first = math.max(SEARCHED, length - SEARCHED)
  for place, record_there in ipairs(redis.pcall('LRANGE', runs, first, -1)) do
    local ended = string.match(record_there, '"ended": "([^"]*)"')
    if not ended or ended < oldest then
      redis.call('LTRIM', runs, 0, first + place - 2)
      return
    end
  end
end
