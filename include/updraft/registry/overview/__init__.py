"""What pages show of a use case: versions and their metric over time; for Airflow's UI and for the service."""
