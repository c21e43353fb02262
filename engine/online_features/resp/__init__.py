"""The protocol of Redis, RESP: commands as bytes and replies as text, without I/O."""
