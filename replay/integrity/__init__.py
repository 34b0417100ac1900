"""Whether a recorded run is complete and undamaged, and its repair."""
