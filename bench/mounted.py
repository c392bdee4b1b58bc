"""A volume in use: mounted, remounted cold, watched, and ended without fail."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from bench import proc
from bench.client import ClientResult, Number
from bench.errors import BenchError
from bench.janitor import end_mount
from bench.machine import CpuClock
from bench.peers import Peer, Volume
from bench.place import Place
from pcvfs.fs import mounts

_MOUNT_LIMIT_S: Final = 60.0
_UNMOUNT_LIMIT_S: Final = 120.0
_BUSY_S: Final = 5.0  # some keep their own mount busy for a moment after it starts
_LOG_SHOWN: Final = 400


@dataclass(frozen=True, slots=True)
class Measured:
    """What a step took: the client's account, and the CPU time of the mount process and the machine meanwhile."""

    result: ClientResult
    server_cpu_s: float
    machine_cpu_s: float
    stolen_s: float

    def counting(self, ops: int) -> Measured:
        """The same, of a program that does so many operations; the client does not see them."""
        return replace(self, result=replace(self.result, ops=ops))


@dataclass(slots=True)
class Mounted:
    """One peer's volume, mounted; a plain directory for the peer that has no mount."""

    peer: Peer
    volume: Volume
    path: Path
    place: Place
    step_limit_s: float
    device: str = ""
    pids: list[int] = field(default_factory=list)
    peak_memory: int = 0  # over all mounts of this volume, bytes
    was_aborted: bool = False

    # --- start and end --------------------------------------------------------------------------------------------
    def mount(self) -> float:
        """Mount; returns the seconds from the start of the command until the volume can be used.

        Raises:
            BenchError: it can't.
        """
        if not self.peer.is_fuse:
            self.device = _device_of(self.path)
            return 0.0
        started = time.perf_counter()
        self.place.janitor.know_mount(self.path, [])
        outcome = proc.run(
            self.peer.mount_command(self.volume, self.path),
            limit_s=_MOUNT_LIMIT_S,
            on_timeout=self.abort,
            error_log=self.volume.error_log,
        )
        mount = self._wait_until_mounted(f"{outcome.stdout}\n{outcome.stderr}")
        took = time.perf_counter() - started
        self.device = mount.device
        self.pids = proc.find_servers(self.path)
        self.place.janitor.know_mount(self.path, self.pids)
        if not self.pids:
            raise BenchError(f"no process serves {self.path}")
        return took

    def _wait_until_mounted(self, said: str) -> mounts.Mount:
        """The kernel wakes us when the mount table changes."""
        deadline = time.monotonic() + _MOUNT_LIMIT_S
        with open("/proc/self/mountinfo", "rb") as table:
            poller = select.poll()
            poller.register(table, select.POLLPRI | select.POLLERR)
            while (mount := mounts.find_mount(os.fsencode(self.path))) is None:
                if time.monotonic() > deadline:
                    raise BenchError(f"the command ended, but nothing is mounted: {said.strip()[-_LOG_SHOWN:]}")
                poller.poll(50)
        return mount

    def unmount(self) -> None:
        """Unmount, and wait until the mount process is gone.

        Raises:
            BenchError: it is busy or does not end, and has been aborted; or it had died before.
        """
        if not self.peer.is_fuse or not self.device:
            return
        self._note_memory()
        has_died = not self.resident_bytes()
        program = ["umount"] if os.geteuid() == 0 else ["fusermount3", "-u"]
        deadline = time.monotonic() + _BUSY_S
        while True:
            command = proc.Command([*program, str(self.path)])
            outcome = proc.run(command, limit_s=_UNMOUNT_LIMIT_S, on_timeout=self.abort, must_succeed=False)
            if outcome.returncode == 0:
                break
            if time.monotonic() > deadline:
                self.abort()
                raise BenchError(f"can't unmount: {outcome.stderr.strip()}")
            time.sleep(0.05)
        stayed = proc.wait_gone(self.pids, limit_s=_UNMOUNT_LIMIT_S)
        if stayed:
            self.abort()
            raise BenchError("unmounted, but its process does not end")
        self.place.janitor.forget_mount(self.path)
        self.device, self.pids = "", []
        if has_died:
            raise BenchError(f"the mount process died: {self._last_words()}")

    def abort(self) -> None:
        """End the mount at once: every call that waits for it fails."""
        self.was_aborted = True
        if self.peer.is_fuse:
            end_mount(self.path, self.pids)
            self.place.janitor.forget_mount(self.path)
            self.device, self.pids = "", []

    def make_cold(self) -> None:
        """Empty all caches: unmount, drop the kernel's, mount again. The backing stays; a tmpfs keeps its content.

        Raises:
            BenchError: it did not work.
        """
        self.unmount()
        self.place.client.run(
            ["sync"],
            directory=self.place.backing.path,
            device=_device_of(self.place.backing.path),
            syncs=[self.place.backing.path],
            drops_caches=self.place.can_drop_caches,
            limit_s=self.step_limit_s,
        )
        self.mount()

    # --- work -----------------------------------------------------------------------------------------------------
    def run(
        self,
        *workload: str | Number,
        clients: int = 1,
        syncs: bool = False,
        max_file: int = 0,
        env: dict[str, str] | None = None,
        limit_factor: float = 1.0,
    ) -> Measured:
        """Run a workload of the client on the volume.

        Args:
            syncs: the clock also covers syncfs of the volume and of its backing.
            max_file: no file may grow beyond, bytes.
            limit_factor: this step may take so many times longer than others.

        Raises:
            BenchError: it failed, or took too long; then the mount is aborted.
        """
        if self.was_aborted:
            raise BenchError("the mount was aborted by an earlier step")
        if not self.device:
            raise BenchError("not mounted")
        before, server_before = CpuClock.now(), self.server_cpu_s()
        result = self.place.client.run(
            list(workload),
            directory=self.path,
            device=self.device,
            syncs=[self.path, self.place.backing.path] if syncs else [],
            clients=clients,
            max_file=max_file,
            limit_s=self.step_limit_s * limit_factor,
            on_timeout=self.abort,
            env=env,
        )
        server, after = self.server_cpu_s() - server_before, CpuClock.now()
        return Measured(result, server, after.busy_s - before.busy_s, after.stolen_s - before.stolen_s)

    def run_program(
        self, argv: Sequence[str | Path], *, syncs: bool = False, env: dict[str, str] | None = None
    ) -> Measured:
        """Run a program in the volume's top directory; its output is thrown away."""
        return self.run("exec", *map(str, argv), syncs=syncs, env=env)

    # --- look -----------------------------------------------------------------------------------------------------
    def server_cpu_s(self) -> float:
        """CPU seconds of the mount process so far, since it was mounted last."""
        return sum(map(proc.cpu_seconds, self.pids))

    def resident_bytes(self) -> int:
        """Resident size of the mount process now."""
        return sum(proc.memory_bytes(pid, "VmRSS") for pid in self.pids)

    def peak_resident_bytes(self) -> int:
        """Largest resident size of the mount process over all mounts of this volume."""
        self._note_memory()
        return self.peak_memory

    def _last_words(self) -> str:
        """The end of what the mount process wrote to standard error."""
        try:
            return self.volume.error_log.read_text(errors="replace").strip()[-_LOG_SHOWN:] or "without a word"
        except OSError:
            return "without a log"

    def _note_memory(self) -> None:
        self.peak_memory = max(self.peak_memory, sum(proc.memory_bytes(pid, "VmHWM") for pid in self.pids))


def _device_of(path: Path) -> str:
    device = path.stat().st_dev
    return f"{os.major(device)}:{os.minor(device)}"
