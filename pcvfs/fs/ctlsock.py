"""The control socket: translates paths between plaintext and ciphertext for other programs.

One JSON object per message, one JSON line per answer, the connection stays open; the protocol of gocryptfs, so its
clients work unchanged.

Source: docs/operations.md "Control socket".
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import logging
import os
import posixpath
import socket
import stat
from typing import TYPE_CHECKING, Final, TypeAlias

import trio

from pcvfs.cipherdir.paths import decrypt_path, encrypt_path
from pcvfs.errors import ControlSocketError, FormatError

if TYPE_CHECKING:
    from pcvfs.cipherdir.volume import Volume

log = logging.getLogger(__name__)

Reply: TypeAlias = dict[str, str | int]

_REQUEST_MAX: Final = 4999
_BACKLOG: Final = 8
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
    listener.setblocking(False)
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


async def serve_ctlsock(listener: socket.socket, volume: Volume) -> None:
    """Answer until cancelled; then the socket file is removed."""
    path = listener.getsockname()
    stream_listener = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
    try:
        await trio.serve_listeners(functools.partial(_serve_client, volume), [stream_listener])
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)


async def _serve_client(volume: Volume, stream: trio.SocketStream) -> None:
    try:
        async with stream:
            while request := await stream.receive_some(_REQUEST_MAX + 1):
                if len(request) > _REQUEST_MAX:
                    log.warning("control socket: request of more than %d bytes, closing", _REQUEST_MAX)
                    return
                await stream.send_all(json.dumps(_answer(bytes(request), volume)).encode() + b"\n")
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # the client went away
    except Exception:  # one client must not end the mount
        log.exception("control socket: a request failed unexpectedly")


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
