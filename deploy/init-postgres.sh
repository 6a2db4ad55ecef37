#!/bin/sh
# What the PostgreSQL image runs once, on an empty volume: databases and roles of postgres.sql, with passwords from files.
set -eu
secret() { cat "/run/secrets/$1"; }
psql -v ON_ERROR_STOP=1 --username postgres --dbname postgres \
  -v prefect_password="$(secret prefect_password)" \
  -v mlflow_password="$(secret mlflow_password)" \
  -v pipeline_password="$(secret pipeline_password)" \
  -f /deploy/postgres.sql
