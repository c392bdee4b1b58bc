"""The control socket: translates paths between plaintext and ciphertext for other programs.

One JSON object per message, one JSON line per answer, the connection stays open; the protocol of gocryptfs, so its
clients work unchanged.

Concurrency: a thread waits for clients, and each client has one, so that none waits for another. They use the
``Volume`` alone, whose codecs may be used from any thread.

Source: docs/operations.md "Control socket".
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import posixpath
import socket
import stat
import threading
import time
from typing import TYPE_CHECKING, Final, TypeAlias

from pcvfs.cipherdir.paths import decrypt_path, encrypt_path
from pcvfs.errors import ControlSocketError, FormatError

if TYPE_CHECKING:
    from pcvfs.cipherdir.volume import Volume

log = logging.getLogger(__name__)

Reply: TypeAlias = dict[str, str | int]

_REQUEST_MAX: Final = 4999
_BACKLOG: Final = 8
_PAUSE_S: Final = 0.1  # after a failed accept: most likely there are no descriptors left
_OTHER: Final = -1  # ErrNo of everything that has no errno


def bind_ctlsock(path: bytes) -> socket.socket:
    """Listen on a unix socket; one that nobody serves any more is replaced.

    Raises:
        ControlSocketError: something else is there, or the directory does not allow it.
    """
    shown = os.fsdecode(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _is_orphaned(path):
            os.unlink(path)
        listener.bind(path)
        listener.listen(_BACKLOG)
    except OSError as exc:
        listener.close()
        hint = "another mount uses it, or it is some other file" if exc.errno == errno.EADDRINUSE else ""
        raise ControlSocketError(f"control socket {shown} can't be made: {exc.strerror}", hint=hint) from exc
    return listener


def _is_orphaned(path: bytes) -> bool:
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return False
    except OSError:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False


class ControlServer:
    """Answers clients until it is closed; then the socket file is removed.

    Args:
        listener: from ``bind_ctlsock``; taken over.
        volume: whose paths are translated; must stay open until ``close`` has returned.
    """

    def __init__(self, listener: socket.socket, volume: Volume) -> None:
        self._listener = listener
        self._volume = volume
        self._path = listener.getsockname()
        self._lock = threading.Lock()
        self._is_closed = False  # under the lock, as is
        self._clients: dict[socket.socket, threading.Thread] = {}
        self._thread = threading.Thread(target=self._accept, name="ctlsock", daemon=True)

    def start(self) -> None:
        """Begin to answer, in threads."""
        self._thread.start()

    def close(self) -> None:
        """Let go of the clients, remove the socket file, and wait for the threads."""
        with self._lock:
            self._is_closed = True
            clients = dict(self._clients)
        for sock in (self._listener, *clients):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)  # wakes whoever waits for it
        with contextlib.suppress(OSError):
            os.unlink(self._path)
        for thread in (self._thread, *clients.values()):
            if thread.ident is not None:
                thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError as exc:
                if self._is_closed:
                    return
                log.warning("control socket: %s", exc.strerror)
                time.sleep(_PAUSE_S)
                continue
            thread = threading.Thread(target=self._serve, args=(client,), name="ctlsock client", daemon=True)
            with self._lock:
                if self._is_closed:
                    client.close()
                    return
                self._clients[client] = thread
                thread.start()

    def _serve(self, client: socket.socket) -> None:
        try:
            with client:
                while request := client.recv(_REQUEST_MAX + 1):
                    if len(request) > _REQUEST_MAX:
                        log.warning("control socket: request of more than %d bytes, closing", _REQUEST_MAX)
                        return
                    client.sendall(json.dumps(_answer(request, self._volume)).encode() + b"\n")
        except OSError:
            pass  # the client went away
        except Exception:  # one client must not end the mount
            log.exception("control socket: a request failed unexpectedly")
        finally:
            with self._lock:
                self._clients.pop(client, None)


def _answer(request: bytes, volume: Volume) -> Reply:
    """The reply to one request. Field names and error texts are the original's: programs compare them."""
    try:
        fields = json.loads(request)
        if not isinstance(fields, dict):
            raise ValueError("not an object")
        known = {str(key).lower(): value for key, value in fields.items()}
        encrypt, decrypt = known.get("encryptpath", ""), known.get("decryptpath", "")
        if not isinstance(encrypt, str) or not isinstance(decrypt, str):
            raise ValueError("a path is not a string")
    except (ValueError, RecursionError) as exc:
        return _reply(err_no=_OTHER, err_text=f"JSON Unmarshal error: {exc}")
    if encrypt and decrypt:
        return _reply(err_no=_OTHER, err_text="Ambiguous")
    path = encrypt or decrypt
    if not path:
        return _reply(err_no=_OTHER, err_text="empty input")
    clean = _canonical(path)
    warning = ""
    if clean != path:
        warning = f"Non-canonical input path '{path}' has been interpreted as '{clean}'."
    if not clean:
        return _reply(err_no=_OTHER, err_text="empty input after canonicalization", warning=warning)
    translate = encrypt_path if encrypt else decrypt_path
    try:
        result = translate(volume, os.fsencode(clean))
    except ValueError:  # a lone surrogate, a NUL
        return _reply(err_no=_OTHER, err_text="path is not text", warning=warning)
    except OSError as exc:
        err_no, text = _error(exc)
        return _reply(err_no=err_no, err_text=text, warning=warning)
    except FormatError as exc:
        return _reply(err_no=_OTHER, err_text=exc.message, warning=warning)
    return _reply(result=os.fsdecode(result), warning=warning)


def _error(exc: OSError) -> tuple[int, str]:
    text = os.strerror(exc.errno or errno.EIO).lower()
    return (exc.errno, text) if exc.errno == errno.ENOENT else (_OTHER, text)


def _canonical(path: str) -> str:
    """The path without leading slashes, doubled ones and dots; empty for the root and for what is above it."""
    clean = posixpath.normpath(path.lstrip("/"))
    return "" if clean in (".", "..") or clean.startswith("../") else clean


def _reply(*, result: str = "", err_no: int = 0, err_text: str = "", warning: str = "") -> Reply:
    return {"Result": result, "ErrNo": err_no, "ErrText": err_text, "WarnText": warning}
