"""Audio decisions: bytes or values in, values out; no sockets, no clock, no tasks."""

import os

# Before numpy is loaded: one process is one core. OpenBLAS would start a thread per core and share products of a few microseconds
# among them, which doubles what they cost.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
