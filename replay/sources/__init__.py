"""Where a run's messages come from: socket, journal or archive, one interface for all."""
