"""The caller's side of a call: one room per kind of leg."""
