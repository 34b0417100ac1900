"""Commands that do not know of the recorder: `ltxtui run`."""
