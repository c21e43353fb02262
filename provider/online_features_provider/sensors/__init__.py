"""Sensors that check features in Redis."""
