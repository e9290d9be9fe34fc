"""Training from the service, by way of Airflow's REST API."""
