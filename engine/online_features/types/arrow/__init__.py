"""Postgres types in Arrow columns: casts, texts, instants, MessagePack."""
