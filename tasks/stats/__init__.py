"""Agreement, reliability, false-discovery control, intervals."""
