"""Feature views as Airflow assets: what DAGs are scheduled on."""
