"""Triggers that wait for features in the triggerer."""
