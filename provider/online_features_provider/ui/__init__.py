"""Pages in Airflow's UI that show feature views, as Redis holds them, and change nothing."""
