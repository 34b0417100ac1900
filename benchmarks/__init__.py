"""Measurements of ltxtui on this machine: `make bench`."""
