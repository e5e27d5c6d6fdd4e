"""What ``quick`` makes is what ``dataclass`` made, in everything but the time it takes."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, dataclass, field, fields, replace
from typing import Any

import pytest

from labgateway.model import Kind, Result
from labgateway.quick import quick


@dataclass(frozen=True, slots=True)
class Slow:
    name: str
    value: int | None = None
    words: tuple[str, ...] = ()
    hidden: int = field(default=3, compare=False, repr=False)


@quick
@dataclass(frozen=True, slots=True)
class Quick:
    name: str
    value: int | None = None
    words: tuple[str, ...] = ()
    hidden: int = field(default=3, compare=False, repr=False)


def test_the_same_object() -> None:
    cases: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        (("a",), {}),
        (("a", 1), {"words": ("x",)}),
        ((), {"name": "b", "hidden": 9}),
    ]
    for arguments, named in cases:
        one, other = Slow(*arguments, **named), Quick(*arguments, **named)
        assert type(other) is Quick
        assert repr(other) == repr(one).replace("Slow", "Quick")
        assert [getattr(other, f.name) for f in fields(other)] == [getattr(one, f.name) for f in fields(one)]
        assert hash(other) == hash(one)
        assert other == Quick(*arguments, **named)
    assert Quick("a", hidden=1) == Quick("a", hidden=2) != Quick("b")
    assert replace(Quick("a", 1), value=2) == Quick("a", 2)
    assert copy.deepcopy(Quick("a")) == pickle.loads(pickle.dumps(Quick("a"))) == Quick("a")
    match Quick("a", 5):
        case Quick(name, 5):
            assert name == "a"
        case _:
            pytest.fail("no match")


def test_it_is_frozen() -> None:
    one = Quick("a")
    with pytest.raises(FrozenInstanceError):
        one.name = "b"  # type: ignore[misc]  # that is the point
    with pytest.raises(FrozenInstanceError):
        del one.name  # type: ignore[misc]  # likewise
    with pytest.raises((FrozenInstanceError, AttributeError, TypeError)):
        one.other = 1  # type: ignore[attr-defined]  # likewise
    result = Result(Kind.PATIENT, "S", "GLU", "5.1")
    with pytest.raises(FrozenInstanceError):
        result.value = "5.2"  # type: ignore[misc]  # likewise


def test_wrong_arguments_are_refused_as_before() -> None:
    wrongs: list[tuple[Any, ...]] = [(), ("a", 1, (), 3, 4)]
    for wrong in wrongs:
        with pytest.raises(TypeError, match=r"Quick.__init__\(\)"):
            Quick(*wrong)
    with pytest.raises(TypeError, match="unexpected keyword"):
        Quick("a", nothing=1)  # type: ignore[call-arg]  # likewise


def test_what_it_cannot_do_is_refused_when_the_class_is_made() -> None:
    @dataclass(frozen=True, slots=True)
    class WithPost:
        name: str

        def __post_init__(self) -> None: ...

    @dataclass(frozen=True, slots=True)
    class WithFactory:
        names: list[str] = field(default_factory=list)

    @dataclass(frozen=True, slots=True)
    class Below(Slow):
        more: int = 0

    @dataclass(frozen=True)
    class WithoutSlots:
        name: str

    @dataclass(frozen=True, slots=True)
    class Named:
        name: str = field(kw_only=True)

    for made in (WithPost, WithFactory, Below, WithoutSlots, Named, int):
        with pytest.raises(TypeError):
            quick(made)
