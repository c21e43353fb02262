"""Triggers of sensors and assets."""
