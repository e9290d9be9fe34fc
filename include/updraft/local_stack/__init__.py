"""MongoDB, S3, Airflow and the service as plain processes of one user: what `make up` and `make demo` start."""
