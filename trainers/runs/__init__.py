"""The run directory: what a training run was asked for, how far it has come, and what it made."""
