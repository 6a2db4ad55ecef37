"""What is kept: ledger, records, gate. No Prefect, no torch."""
