"""What each stage does: one file a stage, run as `python -m tasks.<stage>`."""
