"""`ltxtui run`: records a command that does not know of the recorder, in its process and in those that it starts."""
