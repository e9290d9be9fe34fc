#!/bin/sh
# Make Airflow's tables, its users, the role of the service, and the buckets; what is there already stays.
set -eu
airflow db migrate
python /app/deploy/airflow/make_buckets.py
exec python /app/deploy/airflow/make_users.py
