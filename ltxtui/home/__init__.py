"""The list of runs as a model: filter, order, marks and what each column says. Knows nothing of Textual."""
