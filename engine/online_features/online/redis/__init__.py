"""The seam to Redis: clients, commands, scripts, errors, replication."""
