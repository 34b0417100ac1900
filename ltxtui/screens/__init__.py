"""Screens, each with a style sheet of the same name."""
