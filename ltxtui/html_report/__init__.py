"""A run, or several compared ones, as one web page that needs nothing else: `ltxtui report`."""
