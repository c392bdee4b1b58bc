"""One encrypted directory at rest: system calls on it, create, unlock, change the password, check.

No FUSE here. ``backing`` is the only module of pcvfs that makes system calls on a cipherdir, and ``volume`` the only
one that draws random bytes for it.
"""
