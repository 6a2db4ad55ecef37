"""What each stage does: one file a stage, run as `python -m tasks.<stage>`."""

import os

# Before anything loads OpenMP, which reads it once: threads that wait for one another sleep. By default they spin, and where
# other work has the cores, they spin on those that the thread they wait for would need (benchmarks/waiting.py).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
