"""Runs that copy rows from the offline to the online store."""
