-- Ends a run and adds it to the history, unless it is there because only the reply was lost. A user who may not read the
-- history adds it twice. Follows history.lua.
--
-- KEYS      history of the view, marker of the run
-- ARGV[1]   id of the run
-- ARGV[2]   number of records to keep
-- ARGV[3]   the run as JSON
-- ARGV[4]   instant before which records are old

local runs, marker = KEYS[1], KEYS[2]

redis.call('DEL', marker)
if not has_ended(runs, ARGV[1]) then
  add_record(runs, ARGV[3], tonumber(ARGV[2]), ARGV[4])
end
