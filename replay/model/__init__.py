"""A run in memory, built from messages that are not trusted."""
