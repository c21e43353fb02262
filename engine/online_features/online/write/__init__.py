"""Rows written: guarded, pushed, erased."""
