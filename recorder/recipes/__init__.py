"""What a generation is set up with: schedules, samplers, guidance and recipes of several stages."""
