"""Pieces of web pages about runs: charts as inline SVG, pictures as PNG, and the card of a run in a notebook."""
