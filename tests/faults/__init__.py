"""Injected faults, with real processes and files: the generation continues, and all that can be saved is saved."""
