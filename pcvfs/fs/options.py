"""What a mount can be told. One frozen record; no behaviour but its own checks and its JSON form.

The record crosses a pipe from the process that asks for a mount to the process that serves it, so every field is a
plain value. No secret is ever in it.
"""

from __future__ import annotations

import json
import os
from typing import Final, Literal, get_args

from pcvfs.errors import UsageError
from pcvfs.records import field_names, keyword_record, replaced

Engine = Literal["auto", "lane", "python"]
ENGINES: Final[tuple[str, ...]] = get_args(Engine)

OWNED_TIMEOUT_S: Final = 24 * 3600.0
"""How long the kernel may keep names and attributes when this mount is the only writer: nothing can change them."""


@keyword_record
class MountOptions:
    """Options of one mount.

    Attributes:
        cipherdir: absolute path of the encrypted directory.
        mountpoint: absolute path of the directory to mount on.
        ro: nothing can be changed through the mount.
        allow_other: users other than the one who mounts may use it; new objects belong to whoever makes them.
        nonempty: the mountpoint may hold files (they are hidden while mounted).
        force_owner: (uid, gid) that every object seems to belong to.
        fsname: first column of ``df``; "" is the cipherdir.
        acl: the kernel enforces POSIX ACLs.
        suid, dev, exec_: honour set-user-ID bits, device nodes, execute permission.
        idle_s: unmount after so many seconds without use; 0 is never.
        sharedstorage: others change the cipherdir while it is mounted; nothing is cached.
        badname: shell globs of ciphertext names to show although they can't be decrypted.
        noprealloc: don't reserve space before each write.
        noxattr: no extended attributes at all.
        longnames: False makes names that need hashing ENAMETOOLONG.
        ctlsock: path of the control socket to serve, or None.
        writeback: the kernel collects small writes (never with ``sharedstorage``).
        engine: who serves the requests: "lane" is in C, "python" the reference. "auto" takes the lane where nothing
            speaks against it, which ``sharedstorage`` and ``badname`` do.
        kernel_options: further options for the mount, as for mount(8).
        debug: log every operation that fails unexpectedly with its traceback, and the session's life.
    """

    cipherdir: bytes
    mountpoint: bytes
    ro: bool = False
    rw: bool = False
    allow_other: bool = False
    nonempty: bool = False
    force_owner: tuple[int, int] | None = None
    fsname: str = ""
    acl: bool = False
    suid: bool = False
    dev: bool = False
    exec_: bool = True
    idle_s: float = 0.0
    sharedstorage: bool = False
    badname: tuple[bytes, ...] = ()
    noprealloc: bool = False
    noxattr: bool = False
    longnames: bool = True
    ctlsock: bytes | None = None
    writeback: bool = True
    engine: Engine = "auto"
    kernel_options: tuple[str, ...] = ()
    debug: bool = False

    def __post_init__(self) -> None:
        for path in (self.cipherdir, self.mountpoint):
            if not os.path.isabs(path):
                raise UsageError(f"{os.fsdecode(path)!r} is not an absolute path")
        if self.engine not in ENGINES:
            raise UsageError(f"unknown engine {self.engine!r}", hint=f"one of: {', '.join(ENGINES)}")
        if self.ro and self.rw:
            raise UsageError("a mount is either read-only or read-write")
        if self.engine == "lane" and self.unknown_to_lane is not None:
            raise UsageError(f"the lane does not serve {self.unknown_to_lane}", hint="use another engine")
        if self.idle_s < 0:
            raise UsageError("the idle time can't be negative")

    @property
    def owns_cipherdir(self) -> bool:
        """Nobody else changes the cipherdir while this mount lives, so the kernel and we may cache."""
        return not self.sharedstorage

    @property
    def cache_timeout_s(self) -> float:
        """Lifetime of names and attributes in the kernel."""
        return OWNED_TIMEOUT_S if self.owns_cipherdir else 0.0

    @property
    def unknown_to_lane(self) -> str | None:
        """The option that only the Python engine serves, if there is one."""
        if self.sharedstorage:
            return "--sharedstorage"
        return "--badname" if self.badname else None

    def read_only(self) -> MountOptions:
        """The same mount, read-only."""
        return replaced(self, ro=True)

    def to_json(self) -> str:
        """The record as JSON; paths as UTF-8 with surrogate escapes."""
        values = {name: _plain(getattr(self, name)) for name in field_names(MountOptions)}
        return json.dumps(values)

    @classmethod
    def from_json(cls, text: str) -> MountOptions:
        """The inverse of ``to_json``.

        Raises:
            UsageError: not such a record.
        """
        try:
            values = json.loads(text)
            for name in ("cipherdir", "mountpoint"):
                values[name] = os.fsencode(values[name])
            if values["ctlsock"] is not None:
                values["ctlsock"] = os.fsencode(values["ctlsock"])
            values["badname"] = tuple(os.fsencode(glob) for glob in values["badname"])
            values["kernel_options"] = tuple(values["kernel_options"])
            if values["force_owner"] is not None:
                uid, gid = values["force_owner"]
                values["force_owner"] = (int(uid), int(gid))
            return cls(**values)
        except (KeyError, TypeError, ValueError) as exc:
            raise UsageError("malformed mount options") from exc


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return os.fsdecode(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value
