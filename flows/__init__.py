"""When things run: Prefect flows, the release decision, and the `attestrl` command."""
