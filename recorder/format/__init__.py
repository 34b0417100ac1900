"""What recorder and readers share: message types, framing, declarations, events, locations. Neither torch nor Zarr."""
