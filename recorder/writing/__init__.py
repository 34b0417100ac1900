"""Rows and messages on their way from the sampling thread to the journal, the socket and the archive."""
