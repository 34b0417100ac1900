"""Runs of a sweep on a Ray cluster: the connection, the worker on a GPU, and the pool that hands out jobs."""
