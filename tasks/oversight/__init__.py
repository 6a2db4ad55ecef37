"""Oversight that scales: protocols by which a judge weighs answers that are beyond him (docs/oversight.md)."""
