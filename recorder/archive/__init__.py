"""The Zarr v3 archive of a run, written as plain files."""
