"""Regions of the run screen: each turns the deck into rows of text with roles."""
