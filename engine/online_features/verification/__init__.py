"""Skew: what is online compared with what the offline store says."""
