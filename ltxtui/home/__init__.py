"""The list of runs as a model: filter, order, marks and columns. No Textual."""
