"""Drawing in terminal cells: lines, heat maps, axes and text. No Textual widget."""
