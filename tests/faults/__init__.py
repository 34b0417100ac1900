"""Faults on purpose, with real processes and files: the generation goes on, and what can be saved is saved."""
