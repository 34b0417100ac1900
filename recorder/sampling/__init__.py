"""What sits in the sampling loop: hooks, observers, stages and commands, all in the sampling thread."""
