"""What a mount process loads later, or never. The only module that plays with ``sys.modules``, and this is why:

pyfuse3 imports trio and asks for its own version when it is loaded. That takes 0.1 s, more than all the rest of
mounting does, and the block lane needs neither: it never runs trio (``lane``). So while pyfuse3 loads, it finds
stand-ins. Trio's loads the real one when something of it is used, which the Python engine does.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import NoReturn


def put_off_trio() -> None:
    """Load pyfuse3 without what it does not need. For mount processes: nobody else's modules are ours to change."""
    if "pyfuse3" in sys.modules:
        return
    if "trio" not in sys.modules:
        sys.modules["trio"] = _Later("trio")
    version = "importlib.metadata"
    stand_in = None if version in sys.modules else _NoMetadata(version)
    if stand_in is not None:
        sys.modules[version] = stand_in
    try:
        importlib.import_module("pyfuse3")
    finally:
        if sys.modules.get(version) is stand_in:
            del sys.modules[version]


class _Later(ModuleType):
    """A module that is loaded when something of it is used."""

    def __getattr__(self, name: str) -> object:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        value: object = getattr(importlib.import_module(self.__name__), name)
        setattr(self, name, value)
        return value


class _NoMetadata(ModuleType):
    """Knows of no package; pyfuse3 then says that its version is unknown, which nobody asks it for."""

    class PackageNotFoundError(Exception):
        pass

    @classmethod
    def version(cls, name: str) -> NoReturn:
        raise cls.PackageNotFoundError(name)
