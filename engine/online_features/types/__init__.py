"""Postgres types: what they hold, and how values are written, read and cast."""
