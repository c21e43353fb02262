"""Layout ``msgpack``: a row is a string that holds one MessagePack array."""
