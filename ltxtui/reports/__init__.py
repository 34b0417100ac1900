"""Runs, comparisons, plans and sweeps as plain text and files."""
