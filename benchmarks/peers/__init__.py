"""The same 42 metrics into this recorder and into the tools that people would otherwise use: `make peers`."""

SCALARS = 40
VECTORS = 2
LENGTH = 64
WIDTH = SCALARS + VECTORS * LENGTH
NAMES = [f"metric_{i:02d}" for i in range(SCALARS)]
