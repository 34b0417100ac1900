"""What leaves the sampling thread: rows and messages on their way to the journal, the socket and the archive."""
