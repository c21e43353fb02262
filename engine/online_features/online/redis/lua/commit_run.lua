-- Commits what a run has written: moves the watermark of the generation, if the run's marker is still there, and ends the
-- run: adds it to the view's history. Follows history.lua.
--
-- KEYS      the generation that the run has written to, history of the view, marker of the run; the project's pointer if
--           the generation must still be the one that readers read
-- ARGV[1]   id of the run
-- ARGV[2]   number of records to keep
-- ARGV[3]   the run as JSON, to which the watermark is added; '' if the run goes on, and ends by end_run.lua
-- ARGV[4]   start of what the run has covered; '' means from the beginning
-- ARGV[5]   end of what the run has covered; '' means that it has covered nothing
-- ARGV[6]   newest event timestamp that the run has read; '' when it read none
-- ARGV[7]   fingerprint of the run's definition if the rows online have had it; '' when they have not
-- ARGV[8]   fingerprint of the run's own definition
-- ARGV[9]   instant before which records are old
-- ARGV[10]  name of the view
-- ARGV[11]  the pointer of the view when the run began; '' for none
-- ARGV[12…] field, value, …: further fields of the state to set
-- returns   the watermark ('' before there is one); false when the run's marker is gone: Redis lost data meanwhile;
--           'overtaken' when a run with another definition has ended meanwhile; 'switched' when readers read another
--           generation
--
-- The watermark only moves forward, and only over what runs have covered: windows that begin after it are kept in
-- "pending" until a run closes the gap; those that touch or overlap are joined.

local state, runs, marker, pointer = KEYS[1], KEYS[2], KEYS[3], KEYS[4]

local ends = ARGV[3] ~= ''
local is_marked = redis.call('EXISTS', marker) == 1
if is_marked and ends then
  redis.call('DEL', marker)
end
if not is_marked then
  -- Or the run has ended already, and only the reply was lost; this is not found if the user may not read the history.
  return has_ended(runs, ARGV[1]) and (redis.call('HGET', state, 'watermark') or '')
end

if pointer and (redis.call('HGET', pointer, ARGV[10]) or '') ~= ARGV[11] then
  return 'switched'
end

-- A run with another definition has ended since: neither moves the watermark, because rows of both are online.
local fingerprint = redis.call('HGET', state, 'fingerprint') or ''
if fingerprint ~= ARGV[7] and fingerprint ~= ARGV[8] then
  redis.call('HDEL', state, 'definition', 'fingerprint', 'cursor')
  return 'overtaken'
end

local watermark = redis.call('HGET', state, 'watermark')
-- If it is damaged, the windows are lost: the watermark stays until they are covered again.
local is_readable, pending = pcall(cjson.decode, redis.call('HGET', state, 'pending') or '[]')
if not is_readable or type(pending) ~= 'table' then
  pending = {}
end
if ARGV[5] ~= '' then
  pending[#pending + 1] = { ARGV[4], ARGV[5] }
end
table.sort(pending, function(a, b) return a[1] < b[1] end)

local waiting = {}
for _, window in ipairs(pending) do
  local last = waiting[#waiting]
  if window[1] == '' or (watermark and window[1] <= watermark) then
    if not watermark or window[2] > watermark then
      watermark = window[2]
    end
  elseif last and window[1] <= last[2] then
    if window[2] > last[2] then
      last[2] = window[2]
    end
  else
    waiting[#waiting + 1] = window
  end
end

redis.call('HSET', state, 'fingerprint', ARGV[8], unpack(ARGV, 12))
redis.call('HINCRBY', state, 'commits', 1)
if watermark then
  redis.call('HSET', state, 'watermark', watermark)
end
if #waiting > 0 then
  redis.call('HSET', state, 'pending', cjson.encode(waiting))
else
  redis.call('HDEL', state, 'pending')
end

local newest = redis.call('HGET', state, 'max_event_timestamp')
if ARGV[6] ~= '' and (not newest or newest < ARGV[6]) then
  redis.call('HSET', state, 'max_event_timestamp', ARGV[6])
end

if not ends then
  return watermark or ''
end
local watermark_json = watermark and '"' .. watermark .. '"' or 'null'
add_record(runs, string.sub(ARGV[3], 1, -2) .. ', "watermark": ' .. watermark_json .. '}', tonumber(ARGV[2]), ARGV[9])
return watermark or ''
