"""The operating system: open folders, locks, forced writes, signals."""
