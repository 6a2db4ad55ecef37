"""Models, losses, rollouts and trainers."""
