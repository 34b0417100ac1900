"""The append-only log of a run, and the socket that serves it to viewers."""
