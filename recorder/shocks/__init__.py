"""Shocks: noise injected exactly into a denoising, planned beforehand, recorded, and repeatable bit for bit."""
