"""Layouts: how a row is stored in Redis."""
