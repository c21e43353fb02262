"""The main job, end to end, on embedded servers: flights from Postgres into Redis, scheduled by Airflow."""
