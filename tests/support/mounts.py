"""A live mount: started in its own session, known to the watchdog, never left behind."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.support import kernel
from tests.support.drivers import Driver, MountOptions, Volume, run
from tests.support.processes import fuse_server, open_files, session_members
from tests.support.watchdog import Watchdog

READY_TIMEOUT_S = 30
GONE_TIMEOUT_S = 30
LINGER_S = 5
CLEAN_EXIT_CODES = (0, 15)


class MountFailedError(Exception):
    """The mount command ended before anything was mounted."""

    def __init__(self, returncode: int, log: str) -> None:
        super().__init__(f"mount command ended with exit code {returncode}:\n{log}")
        self.returncode = returncode
        self.log = log


@dataclass
class LiveMount:
    """A volume in use. For the control driver, *path* is the directory itself and nothing runs."""

    driver: Driver
    volume: Volume
    path: Path
    options: MountOptions
    watchdog: Watchdog
    log_path: Path
    process: subprocess.Popen[bytes] | None = None
    minor: int = -1
    state_files: set[Path] = field(default_factory=set)  # what the server keeps in the runtime directory
    log_start: int = 0  # where the log of the last start begins, in characters
    returncodes: list[int] = field(default_factory=list)

    # --- start ------------------------------------------------------------------------------------------------
    def start(self) -> None:
        """Mount and wait until the kernel shows it.

        Raises: MountFailedError if the command ends first; TimeoutError.
        """
        if not self.driver.is_fuse:
            return
        self.path.mkdir(exist_ok=True)
        user = self.options.user
        if user is not None:
            shutil.chown(self.path, user, user)
        before = kernel.find_mount(self.path)
        self.log_start = len(self.log())
        with self.log_path.open("ab") as log:
            process = subprocess.Popen(
                self.driver.mount_command(self.volume, self.path, self.options),
                env=self.driver.environment(self.options),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **({} if user is None else {"user": user, "group": user, "extra_groups": []}),  # type: ignore[call-overload]
            )
        self.process = process

        def is_settled() -> bool:
            return kernel.find_mount(self.path) != before or process.poll() is not None

        try:
            kernel.wait_for_mount_change(is_settled, timeout_s=READY_TIMEOUT_S, what=f"mount of {self.path}")
        except TimeoutError:
            self._kill_all()
            raise
        entry = kernel.find_mount(self.path)
        if entry is None or entry == before:
            self.process = None
            raise MountFailedError(process.wait(), self.log())
        self.minor = entry.minor
        self.watchdog.watch(self.path, minor=entry.minor, session=process.pid)
        if self.driver.is_pcvfs:
            held = map(Path, open_files(self.serving_pid()).values())
            self.state_files |= {
                path for path in held if path.is_relative_to("/run") or path.is_relative_to("/dev/shm")
            }

    # --- look -------------------------------------------------------------------------------------------------
    def log(self) -> str:
        """Return what the mount wrote to its terminal so far."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def serving_pid(self) -> int:
        """Return the process that answers the kernel."""
        assert self.process is not None
        return fuse_server(self.process.pid)

    def is_alive(self) -> bool:
        """The mount is there and its process runs (for the control: always)."""
        if not self.driver.is_fuse:
            return True
        return self.process is not None and self.process.poll() is None and kernel.find_mount(self.path) is not None

    # --- end --------------------------------------------------------------------------------------------------
    def unmount(self, *, by_command: bool = False) -> int:
        """Unmount cleanly, by umount(2) or with the command a user types; return the server's exit code.

        Raises: OSError(EBUSY), RuntimeError from the command; TimeoutError if a process stays.
        """
        if not self.driver.is_fuse:
            return 0
        if by_command:
            run(self.driver.umount_command(self.path))
        else:
            self._unmount_settled()
        return self.wait_gone()

    def _unmount_settled(self) -> None:
        """umount(2); an implementation that opens files on its own mount is given a moment to let go."""
        deadline = time.monotonic() + self.driver.settle_s
        while True:
            try:
                kernel.kernel_unmount(self.path)
            except OSError as exc:
                if exc.errno != errno.EBUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                return

    def terminate(self, signum: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal to the serving process and wait for the clean end; return the command's exit code."""
        os.kill(self.serving_pid(), signum)
        return self.wait_gone()

    def wait_gone(self) -> int:
        """Wait until mount and processes are gone; return the exit code of the mount command."""
        assert self.process is not None
        process = self.process
        kernel.wait_for_mount_change(
            lambda: kernel.find_mount(self.path) is None, timeout_s=GONE_TIMEOUT_S, what=f"{self.path} to be unmounted"
        )
        try:
            returncode = process.wait(timeout=LINGER_S if self.driver.may_linger else GONE_TIMEOUT_S)
            kernel.wait_until(
                lambda: not session_members(process.pid), timeout_s=GONE_TIMEOUT_S, what="end of the server's helpers"
            )
        except (subprocess.TimeoutExpired, TimeoutError) as exc:
            self._kill_all()
            if self.driver.may_linger:
                return 0
            raise TimeoutError(f"a process of the mount {self.path} stayed after the unmount: {exc}") from exc
        self._forget(returncode)
        return returncode

    def kill(self) -> None:
        """kill -9 the serving process, then detach the dead mount, as an operator would."""
        with suppress(LookupError, ProcessLookupError):
            os.kill(self.serving_pid(), signal.SIGKILL)
        self._kill_all()
        kernel.lazy_unmount(self.path)

    def close(self) -> None:
        """Whatever state it is in: end it. Never raises for a mount that is already dead."""
        if self.process is None:
            return
        if self.is_alive():
            with suppress(OSError, TimeoutError):
                self.unmount()
                return
        kernel.abort_connection(self.path, self.minor)
        self.kill()

    def leftovers(self) -> list[str]:
        """Return what an ended mount left behind, and remove it. A killed one may leave its state for the next."""
        found = []
        if self.driver.is_fuse and self.path.is_dir() and any(self.path.iterdir()):
            found.append(f"files in the mountpoint below {self.path}")
        was_killed = not self.returncodes or self.returncodes[-1] not in CLEAN_EXIT_CODES
        for path in self.state_files:
            if path.exists():
                path.unlink()
                found += [] if was_killed else [f"{path}, though the mount ended cleanly"]
        return found

    def _kill_all(self) -> None:
        if self.process is None:
            return
        for pid in session_members(self.process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        returncode = self.process.wait(timeout=GONE_TIMEOUT_S)
        session = self.process.pid
        kernel.wait_until(lambda: not session_members(session), timeout_s=GONE_TIMEOUT_S, what="killed processes to go")
        self._forget(returncode)

    def _forget(self, returncode: int) -> None:
        self.watchdog.forget(self.path)
        self.returncodes.append(returncode)
        self.process, self.minor = None, -1
