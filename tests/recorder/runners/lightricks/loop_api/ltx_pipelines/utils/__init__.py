"""Loops and their parts."""
