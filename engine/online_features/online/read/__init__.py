"""Rows read for models, and how fresh they are."""
