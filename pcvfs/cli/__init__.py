"""The ``pcvfs`` command: one module per verb, and what the verbs share.

``main`` is the only translator from errors to exit codes, ``console`` the only one that writes to the terminal,
``argv`` the only one that knows how gocryptfs spells options. A verb imports the rooms below inside its functions:
``pcvfs --help`` and ``pcvfs version`` load neither cryptography nor FUSE.
"""
