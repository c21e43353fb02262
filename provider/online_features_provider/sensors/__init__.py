"""Sensors that look into Redis itself."""
