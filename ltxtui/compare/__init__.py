"""The model of the compare screen: the runs, their alignment, and what is shown. No Textual."""
