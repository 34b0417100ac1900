"""Archives as one file, the form that travels: packing and unpacking."""
