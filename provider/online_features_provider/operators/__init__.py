"""Operators that write features online."""
