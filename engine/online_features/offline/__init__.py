"""The offline store: Postgres, read as Arrow record batches."""
