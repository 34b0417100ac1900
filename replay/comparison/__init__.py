"""Runs next to each other: common axis, metrics, differences in their conditions."""
