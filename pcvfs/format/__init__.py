"""The gocryptfs bytes: file headers, blocks, names, attributes, config.

Nothing here opens a file or draws a random number: callers pass bytes in, and every nonce, salt and file id is a
parameter. That makes each function testable with fixed vectors and leaves one place (``cipherdir``) for I/O.
The format itself is described in docs/format.md.
"""
