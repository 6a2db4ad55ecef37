-- Databases and roles of the production stack, once, on an empty server (PostgreSQL 15 or later):
--   psql -v prefect_password=… -v mlflow_password=… -v pipeline_password=… -f deploy/postgres.sql
-- Each server owns its own database and cannot reach the others'. The pipeline may read the audit log and add to it;
-- it can neither change nor remove what stands there, which is the owner's right, and nobody logs in as the owner.
\set ON_ERROR_STOP on
CREATE ROLE prefect LOGIN PASSWORD :'prefect_password';
CREATE ROLE mlflow LOGIN PASSWORD :'mlflow_password';
CREATE ROLE attestrl LOGIN PASSWORD :'pipeline_password';
CREATE ROLE attestrl_owner NOLOGIN;
CREATE DATABASE prefect OWNER prefect;
CREATE DATABASE mlflow OWNER mlflow;
CREATE DATABASE mlflow_auth OWNER mlflow;
CREATE DATABASE attestrl OWNER attestrl_owner;
REVOKE ALL ON DATABASE prefect, mlflow, mlflow_auth, attestrl FROM PUBLIC;
GRANT CONNECT ON DATABASE attestrl TO attestrl;
\connect attestrl
SET ROLE attestrl_owner;
CREATE TABLE attestrl_ledger (
    position bigint PRIMARY KEY CHECK (position >= 0),
    line bytea NOT NULL
);
GRANT SELECT, INSERT ON attestrl_ledger TO attestrl;
