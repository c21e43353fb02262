"""Rows that producers give: drawn, transformed, checked and cast."""
