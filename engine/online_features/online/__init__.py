"""The online store: Redis, written by guarded scripts and read by key."""
