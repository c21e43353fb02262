-- Ends a run that failed: its history tells it, unless it has ended already, and only the reply was lost. Who may not
-- read the history tells it twice.
--
-- KEYS      history of the view, marker of the run
-- ARGV[1]   id of the run
-- ARGV[2]   number of runs to keep
-- ARGV[3]   the run as JSON

local runs, marker = KEYS[1], KEYS[2]

redis.call('DEL', marker)
for _, ended in ipairs(redis.pcall('LRANGE', runs, 0, -1)) do
  if string.find(ended, ARGV[1], 1, true) then
    return
  end
end
redis.call('LPUSH', runs, ARGV[3])
redis.call('LTRIM', runs, 0, ARGV[2] - 1)
