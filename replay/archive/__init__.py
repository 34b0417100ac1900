"""Strict reading of Zarr archives: what the recorder writes is read, anything else is refused."""
