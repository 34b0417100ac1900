"""The panels of the compare screen: runs side by side."""
