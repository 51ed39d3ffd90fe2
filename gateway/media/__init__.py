"""Audio decisions: bytes or values in, values out; no sockets, no clock, no tasks."""
