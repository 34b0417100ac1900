"""The state of the run screen: what is shown of a run and where its cursor is. No Textual."""
