-- Reads a key on its primary: a client of a cluster may send a plain reading command to a replica that is behind.
--
-- KEYS[1]   the key
-- ARGV      the command, and its words after the key
-- returns   its reply

local reply = redis.pcall(ARGV[1], KEYS[1], unpack(ARGV, 2))
if type(reply) == 'table' and reply.err then
  -- Redis does not name the command that it refuses.
  return redis.error_reply(reply.err .. ' (' .. ARGV[1] .. ')')
end
return reply
