"""Frozen records: what ``@dataclass(frozen=True)`` gives, for the classes that every mount loads.

``dataclasses`` compiles source text for each class and loads ``inspect`` and what that needs: 0.4 ms a class and 4 ms
once, a quarter of the time that mounting may take (docs/performance.md "Time to mount"). These methods are the same few
functions for all classes, so making a class costs next to nothing, and making a record some microseconds: right for
options and configs, of which there are few. A type checker takes them for dataclasses.
"""

from __future__ import annotations

from typing import TypeVar, dataclass_transform

_Class = TypeVar("_Class", bound=type)
_Record = TypeVar("_Record")


@dataclass_transform(frozen_default=True)
def record(cls: _Class) -> _Class:
    """Make a class with annotated fields a frozen record. A field with a value in the class has that as its default.

    ``__post_init__`` is called at the end of ``__init__``, if there is one. A record inherits no fields.
    """
    fields = tuple(cls.__annotations__)
    defaults = {name: cls.__dict__[name] for name in fields if name in cls.__dict__}

    def __init__(self: object, *args: object, **values: object) -> None:  # noqa: N807  # it becomes one
        if len(args) > len(fields):
            raise TypeError(f"{cls.__name__} takes {len(fields)} values, not {len(args)}")
        given = dict(zip(fields, args, strict=False))
        if twice := given.keys() & values.keys():
            raise TypeError(f"{cls.__name__} was given {', '.join(sorted(twice))} twice")
        given = {**defaults, **given, **values}
        if given.keys() != set(fields):
            wrong = sorted(given.keys() ^ set(fields))
            raise TypeError(f"{cls.__name__} has other fields: missing or unknown are {', '.join(wrong)}")
        self.__dict__.update(given)
        check = getattr(self, "__post_init__", None)
        if check is not None:
            check()

    methods = {
        "__init__": __init__,
        "__repr__": _repr,
        "__eq__": _eq,
        "__hash__": _hash,
        "__setattr__": _refuse,
        "__delattr__": _refuse,
        "__match_args__": fields,
        "__replace__": replaced,
    }
    for name, method in methods.items():
        if name not in cls.__dict__:
            setattr(cls, name, method)
    return cls


@dataclass_transform(frozen_default=True, kw_only_default=True)
def keyword_record(cls: _Class) -> _Class:
    """As ``record``; to a type checker its fields have to be named."""
    return record(cls)


def field_names(cls: type) -> tuple[str, ...]:
    """The fields of a record class, in their order."""
    names: tuple[str, ...] = getattr(cls, "__match_args__")  # noqa: B009  # no class declares it
    return names


def replaced(self: _Record, /, **changes: object) -> _Record:
    """A record with some fields changed; checked as a new one."""
    return type(self)(**{**vars(self), **changes})


def _repr(self: object) -> str:
    values = ", ".join(f"{name}={getattr(self, name)!r}" for name in field_names(type(self)))
    return f"{type(self).__qualname__}({values})"


def _eq(self: object, other: object) -> bool:
    return vars(self) == vars(other) if type(other) is type(self) else NotImplemented


def _hash(self: object) -> int:
    return hash((type(self), *vars(self).values()))


def _refuse(self: object, name: str, *_value: object) -> None:
    raise AttributeError(f"{type(self).__name__} is frozen: {name} can't be changed")
