"""Lists of recorded and live runs, and changes to recorded ones."""
