"""``make bench``: materializing and reading, beside Feast, beside code by hand, and beside what bounds them all."""
