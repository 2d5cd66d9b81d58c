"""Any string as the value of a label."""

from __future__ import annotations

import enum

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from poolscope.label_values import MAX_BYTES, MAX_CHARACTERS, label_value, printable

ANY_TEXT = st.text(st.characters(exclude_categories=())) | st.text(
    st.characters(exclude_categories=()), min_size=100, max_size=300
)


@given(ANY_TEXT)
@example("\ud800" * 119)
@example("\U0001f600" * 119)
@example("\U0001f600" * 1000)
@example("\n" * 40)
def test_it_is_one_line_of_utf8_of_bounded_length_and_stays_as_it_is(text: str) -> None:
    value = label_value(text)
    assert len(value) <= MAX_CHARACTERS
    assert len(value.encode()) <= MAX_BYTES
    assert len(value.splitlines()) == bool(text)
    assert value == label_value(value) == printable(value)


@given(ANY_TEXT)
def test_it_is_read_back_as_it_was(text: str) -> None:
    registry = CollectorRegistry()
    Gauge("g", "A gauge.", ["pool"], registry=registry).labels(label_value(text)).set(1)
    (family,) = text_string_to_metric_families(generate_latest(registry).decode())
    assert [{"pool": label_value(text)}] == [sample.labels for sample in family.samples]


@pytest.mark.parametrize(
    "name",
    [
        "orders",
        "",
        'a "b" \\ c',
        "Bestellungen-ä",
        "注文",
        "no-break\u00a0space",
        "x" * MAX_CHARACTERS,
    ],
)
def test_a_name_that_is_fit_stays(name: str) -> None:
    assert name == label_value(name)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("shop\ud800", "shop\\ud800~"),
        ("caf\udce9", "caf\\udce9~"),
        ("a\0b", "a\\x00b~"),
        ("a\nb\r\tc", "a\\nb\\r\\tc~"),
        ("\x1b[31mred\x7f\x85\u2028", "\\x1b[31mred\\x7f\\x85\\u2028~"),
        ("shop\u202etxt.exe\u2066", "shop\\u202etxt.exe\\u2066~"),
    ],
)
def test_what_is_not_fit_is_escaped_and_marked(name: str, shown: str) -> None:
    text, mark = label_value(name)[:-8], label_value(name)[-8:]
    assert shown == text
    assert int(mark, 16) >= 0


@pytest.mark.parametrize("odd", ["\ud800", "\n", "\0", "x" * 200, "ä" * 150, "\U0001f600" * 60])
def test_two_names_stay_two(odd: str) -> None:
    names = [f"{odd}{odd}", odd, repr(odd)[1:-1], f"{odd}1{odd}", f"{odd}2{odd}"]
    assert len(set(names)) == len({label_value(name) for name in names})


def test_both_ends_of_a_long_name_can_be_read() -> None:
    value = label_value(f"orders-{'x' * 10_000_000}-replica")
    assert value.startswith("orders-x")
    assert value.endswith("x-replica")
    assert len(value) <= MAX_CHARACTERS


def test_of_a_subclass_it_is_what_it_contains() -> None:
    class Name(enum.StrEnum):
        ORDERS = "orders"
        ODD = "odd\n"

    for name in Name:
        assert type(label_value(name)) is type(printable(name)) is str
    assert "orders" == label_value(Name.ORDERS)


class Liar(str):  # noqa: SLOT000  # an odd class is the point
    """A string that says that it is printable, short and equal to nothing."""

    def isprintable(self) -> bool:
        return True

    def __len__(self) -> int:
        return 3

    def __eq__(self, _: object) -> bool:
        return False

    __hash__ = str.__hash__

    def __str__(self) -> str:
        return "lie"

    def __getitem__(self, _: object) -> str:
        return "lie"


@pytest.mark.parametrize("text", ["orders", "a\nb\ud800", "x" * 1000, "\ud800" * 1000, ""])
def test_of_a_subclass_that_behaves_oddly_it_is_what_it_contains(text: str) -> None:
    assert (label_value(text), printable(text)) == (label_value(Liar(text)), printable(Liar(text)))
    assert str is type(label_value(Liar(text)))
