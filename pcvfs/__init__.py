"""A gocryptfs-compatible encrypted filesystem, native to FUSE and Python."""
