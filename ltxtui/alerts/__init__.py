"""Alerts: what is new in a run that its user wants to hear of, and the command that gets it. No Textual."""
