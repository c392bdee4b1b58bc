"""Doing things as another user."""

from __future__ import annotations

import os
import pickle
import shutil
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TypeVar

from tests.support.requirements import REPOSITORY, unavailable

NOBODY = 65534
SOMEONE = 1000  # need not be in /etc/passwd
SOMEONES_GROUP = 1000
OTHER_GROUP = 2000

Result = TypeVar("Result")


def run_as(uid: int, action: Callable[[], Result], *, gid: int | None = None, groups: Sequence[int] = ()) -> Result:
    """Run *action* in a child process with other credentials and return its result.

    The result is pickled; an exception comes back as it is, an OSError with its errno.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _run_child(writer, uid, uid if gid is None else gid, groups, action)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        reply = pipe.read()
    os.waitpid(child, 0)
    succeeded, value = pickle.loads(reply)
    if not succeeded:
        raise value
    return value  # type: ignore[no-any-return]  # what action() returned


def _run_child(writer: int, uid: int, gid: int, groups: Sequence[int], action: Callable[[], object]) -> None:
    """Never returns."""
    try:
        os.setgroups(list(groups))
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        reply = pickle.dumps((True, action()))
    except OSError as exc:
        reply = pickle.dumps((False, OSError(exc.errno, exc.strerror, exc.filename)))
    except BaseException:  # noqa: BLE001  # whatever it is, the parent must hear of it
        reply = pickle.dumps((False, AssertionError(traceback.format_exc())))
    try:
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(reply)
    finally:
        os._exit(0)


def errno_of(action: Callable[[], object]) -> int:
    """Return the errno that *action* fails with, 0 if it succeeds."""
    try:
        action()
    except OSError as exc:
        return exc.errno or -1
    return 0


@cache
def interpreter_for(uid: int) -> str:
    """Return a Python of our version that the user can execute."""
    candidates = [sys.executable, shutil.which("python{}.{}".format(*sys.version_info), path="/usr/bin:/usr/local/bin")]
    paths = [path for path in candidates if path is not None]
    usable = run_as(uid, lambda: [path for path in paths if os.access(Path(path).resolve(), os.X_OK)])
    if not usable:
        unavailable("other-user", f"uid {uid} can execute no python{sys.version_info[0]}.{sys.version_info[1]}")
    return usable[0]


def import_paths() -> list[str]:
    """Return what another interpreter must have on its path to import what we can import."""
    return [str(REPOSITORY), *(path for path in sys.path if path.endswith("site-packages"))]
