"""Stores from Airflow's own Postgres and Redis connections."""
