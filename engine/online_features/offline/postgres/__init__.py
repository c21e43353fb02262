"""The seam to Postgres: connections, transactions, errors, SQL files."""
