"""Checks a whole volume, without a mount: every name, block, symlink target and attribute.

Reads and never writes. What the original's ``-fsck`` finds by walking a mount is found here from below, and so are
things that no mount shows: names that are listed but lead nowhere, sidecars without an entry, traces of crashes. Files
below a directory whose IV is lost are checked too, though they have no names any more.

The volume may be in use: an entry that vanishes is no problem, and a file that changes is read again. Memory holds one
batch of names, the directories still to be visited along one path, and inodes of which more names are to come; the
number of open descriptors is bounded whatever the depth. Not thread safe.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
from collections.abc import Iterator
from typing import Final

from pcvfs.cipherdir import backing
from pcvfs.cipherdir.content_check import ContentCheck
from pcvfs.cipherdir.report import FsckReport, OnProblem, OnProgress, Problem, ProblemKind, Recorder
from pcvfs.cipherdir.volume import Volume
from pcvfs.errors import AuthenticationError, FormatError, NameDecodeError
from pcvfs.format.names import NameClass, pad, sidecar_name
from pcvfs.spec import (
    ACL_XATTRS,
    CONFIG_BACKUP_SUFFIX,
    CONFIG_NAME,
    CONFIG_TMP_SUFFIX,
    DIRIV_NAME,
    DIRIV_RMDIR_PREFIX,
    LONG_NAME_SUFFIX,
    XATTR_NAME_TWEAK,
    XATTR_PREFIX,
)
from pcvfs.types import DirIV
