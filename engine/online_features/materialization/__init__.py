"""Runs that bring rows from the offline to the online store."""
