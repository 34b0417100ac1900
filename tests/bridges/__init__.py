"""Exports read back by the libraries of their targets; `make bridges` installs them. Where one is missing, it skips."""
