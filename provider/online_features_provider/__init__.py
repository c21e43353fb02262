"""Operators, sensors, hooks, triggers and assets that run ``online_features`` in Airflow."""
