#!/bin/sh
# Make deploy/secrets/ with a random secret in each file, and a key and certificate for TLS; what is there stays.
# ${…} of the files here are called after the secrets.
# The folder is closed to other users, and its files are not: containers see the files alone, under users of their own.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p secrets
for name in postgres_password prefect_password mlflow_password pipeline_password redis_password mlflow_admin_password mlflow_secret; do
  [ -s "secrets/$name" ] || od -An -tx1 -N24 /dev/urandom | tr -d ' \n' > "secrets/$name"
done
[ -s secrets/prefect_auth ] || printf 'admin:%s' "$(od -An -tx1 -N24 /dev/urandom | tr -d ' \n')" > secrets/prefect_auth
# a certificate that nobody vouches for, until you put your own there
[ -s secrets/tls_key ] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 825 -subj /CN=localhost \
  -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout secrets/tls_key -out secrets/tls_certificate 2>/dev/null
chmod 644 secrets/*
