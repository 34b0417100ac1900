"""How a generation is stopped in a host whose loops cannot be ended from outside."""

from __future__ import annotations


class GenerationStopped(Exception):
    """A viewer or a rule has stopped the run, and the host's loop has no other way to end than an exception."""
