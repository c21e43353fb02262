"""Layout ``hash``: a row is a Redis hash, one field per feature that is not NULL."""
