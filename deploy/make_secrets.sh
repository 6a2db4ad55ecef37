#!/bin/sh
# Make deploy/secrets/ with a random secret in each file; what is there stays. ${…} of the files here are called after them.
# The folder is closed to other users, and its files are not: containers see the files alone, under users of their own.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p secrets
for name in postgres_password prefect_password mlflow_password pipeline_password redis_password mlflow_admin_password mlflow_secret; do
  [ -s "secrets/$name" ] || od -An -tx1 -N24 /dev/urandom | tr -d ' \n' > "secrets/$name"
done
[ -s secrets/prefect_auth ] || printf 'admin:%s' "$(od -An -tx1 -N24 /dev/urandom | tr -d ' \n')" > secrets/prefect_auth
chmod 644 secrets/*
