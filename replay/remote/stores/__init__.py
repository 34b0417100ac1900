"""Runs on object stores, such as `s3://bucket/runs`: read from there, and uploaded once they have ended."""
