"""Runs side by side on the screen: which they are, how they are lined up, and what is looked at. No Textual."""
