"""Labels for names that strangers choose anew at any time."""

from __future__ import annotations

from poolscope.readings.labels import KEPT_SECONDS, SteadyLabels
from poolscope.testing import FakeClock


def test_at_most_so_many_names_have_labels_in_an_hour(clock: FakeClock) -> None:
    labels = SteadyLabels(3, clock)
    shown: set[str] = set()
    for number in range(100):
        shown |= labels.look([f"name {number}", f"another {number}"])
        clock.advance(KEPT_SECONDS / 100 - 0.1)
    assert {"name 0", "another 0", "name 1"} == shown


def test_a_name_has_its_label_for_as_long_as_it_is_seen(clock: FakeClock) -> None:
    labels = SteadyLabels(1, clock)
    for _ in range(5):
        assert {"orders"} == labels.look(["orders", "guest"])
        assert {"orders"} == labels.look(["guest", "orders"])
        clock.advance(KEPT_SECONDS - 1.0)


def test_who_is_not_seen_for_an_hour_makes_room(clock: FakeClock) -> None:
    labels = SteadyLabels(1, clock)
    assert {"guest"} == labels.look(["guest"])
    clock.advance(KEPT_SECONDS - 1.0)
    assert set() == labels.look(["orders"])
    clock.advance(1.0)
    assert {"orders"} == labels.look(["orders"])
    assert {"orders"} == labels.look(["guest", "orders"])
