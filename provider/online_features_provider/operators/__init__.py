"""Operators that write features online, and that check them."""
