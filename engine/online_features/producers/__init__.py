"""Rows that producers give: read, transformed, checked and cast."""
