"""Frozen records: they behave as frozen dataclasses do."""

from __future__ import annotations

import dataclasses
import pickle

import pytest

from pcvfs.records import field_names, record, replaced


@record
class Point:
    x: int
    y: int = 0

    @property
    def total(self) -> int:
        return self.x + self.y


@dataclasses.dataclass(frozen=True)
class Reference:
    x: int
    y: int = 0


@record
class Even:
    value: int

    def __post_init__(self) -> None:
        if self.value % 2:
            raise ValueError("odd")


@pytest.mark.parametrize(
    ("args", "values"), [((1,), {}), ((1, 2), {}), ((), {"x": 1}), ((1,), {"y": 5}), ((), {"y": 2, "x": 1})]
)
def test_record_is_made_shown_and_compared_as_a_dataclass(args: tuple[int, ...], values: dict[str, int]) -> None:
    point, reference = Point(*args, **values), Reference(*args, **values)
    assert (point.x, point.y) == (reference.x, reference.y)
    assert repr(point) == repr(reference).replace("Reference", "Point")
    assert point == Point(reference.x, reference.y)
    assert point != Point(reference.x, reference.y + 1)
    assert point != reference
    assert hash(point) == hash(Point(*args, **values))
    assert point.total == point.x + point.y


@pytest.mark.parametrize(
    ("args", "values"), [((), {}), ((), {"y": 1}), ((1, 2, 3), {}), ((1,), {"x": 1}), ((1,), {"z": 1})]
)
def test_record_with_other_fields_is_a_type_error(args: tuple[int, ...], values: dict[str, int]) -> None:
    for cls in (Point, Reference):
        with pytest.raises(TypeError):
            cls(*args, **values)


def test_record_is_frozen() -> None:
    point = Point(1)
    with pytest.raises(AttributeError):
        point.x = 2  # type: ignore[misc]  # that is the point
    with pytest.raises(AttributeError):
        point.z = 2  # type: ignore[attr-defined]  # likewise
    with pytest.raises(AttributeError):
        del point.x
    assert point == Point(1)


def test_replaced_is_a_new_record_that_is_checked() -> None:
    assert replaced(Point(1, 2), y=3) == Point(1, 3)
    with pytest.raises(ValueError, match="odd"):
        replaced(Even(2), value=3)
    with pytest.raises(TypeError):
        replaced(Point(1), z=3)


def test_fields_keep_their_order_and_can_be_matched() -> None:
    assert field_names(Point) == ("x", "y")
    match Point(1, 2):
        case Point(x, y):
            assert (x, y) == (1, 2)


def test_record_of_a_module_can_be_pickled() -> None:
    assert pickle.loads(pickle.dumps(Point(1, 2))) == Point(1, 2)
