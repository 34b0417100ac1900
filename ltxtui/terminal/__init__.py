"""The terminal itself: its driver, how the program ends on it, and the log of a crash."""
