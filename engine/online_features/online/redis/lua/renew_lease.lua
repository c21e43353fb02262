-- Renews or releases a lease, if the run still has it.
--
-- KEYS[1]   the lease
-- ARGV[1]   id of the run
-- ARGV[2]   milliseconds after which the lease ends; 0 to release it
-- returns   1 if the run had the lease, else 0

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
else
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 1
