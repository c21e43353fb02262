-- Reads a key on its primary: a client of a cluster may send a plain reading command to a replica that is behind.
--
-- KEYS[1]   the key
-- ARGV      the command, and its words after the key
-- returns   its reply

return redis.call(ARGV[1], KEYS[1], unpack(ARGV, 2))
