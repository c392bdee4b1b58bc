"""Types that two or more rooms share. No behaviour, no imports but typing.

A swap of two of these is a type error; at run time they are plain ``int`` and ``bytes``.
"""

from typing import NewType

Inode = NewType("Inode", int)  # the number the kernel knows an object by; 1 is the root of the mount
Handle = NewType("Handle", int)  # an open file or directory, as handed to the kernel
BlockNo = NewType("BlockNo", int)  # 0 is the first block of a file
PlainOff = NewType("PlainOff", int)  # byte offset in the plaintext
CipherOff = NewType("CipherOff", int)  # byte offset in the backing file, header included
FileId = NewType("FileId", bytes)  # 16 random bytes from the file header
DirIV = NewType("DirIV", bytes)  # 16 bytes, the EME tweak of the names of one directory
