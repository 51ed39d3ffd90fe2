"""The model's side of a call."""
