"""Runs of other machines, over the pipe of a child process such as ssh: nothing listens on a port."""
