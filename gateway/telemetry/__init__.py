"""Read-only observers of what happened: metrics and logs."""
