"""Child processes that are meant to die."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from typing import Final

COMPLETED: Final = 4
FAILED: Final = 5


def in_child(action: Callable[[], object]) -> int:
    """Run something in a child process, without any cleaning up after it.

    Returns:
        ``COMPLETED``, another exit code that ``action`` chose, or minus the signal that killed it. An exception is
        printed, and the test fails.
    """
    pid = os.fork()
    if pid == 0:
        try:
            action()
            os._exit(COMPLETED)
        except BaseException:  # noqa: BLE001  # it must not get into pytest's own, here
            traceback.print_exc()
        finally:
            os._exit(FAILED)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code != FAILED, "the child process failed: see its traceback"
    return code
