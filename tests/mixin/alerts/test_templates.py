"""Rendering templates; the promtool tests show that Prometheus renders them equally."""

from __future__ import annotations

import pytest

from poolscope.mixin.alerts.expressions import Expressions
from poolscope.mixin.alerts.model import POOL, named
from poolscope.mixin.alerts.options import Options
from poolscope.mixin.alerts.promtool.templates import rendered
from poolscope.mixin.alerts.texts import chosen, counted, waiting_now

LABELS = {"pool": "orders & more", "service": "shop"}


@pytest.mark.parametrize(
    ("template", "value", "expected"),
    [
        ("{{ $labels.pool }}", 0, "orders & more"),
        ("{{ $labels.pool | urlquery }}", 0, "orders+%26+more"),
        ("all{{ with $labels.service }} of {{ . }}{{ end }}", 0, "all of shop"),
        ("all{{ with $labels.cluster }} of {{ . }}{{ end }}", 0, "all"),
        ("{{ $value | humanizePercentage }}", 0.01234567, "1.235%"),
        ("{{ $value | humanizeDuration }}", 59.5, "59.5s"),
        ("{{ $value | humanizeDuration }}", 63, "1m 3s"),
        ("{{ $value | humanizeDuration }}", 90_061, "1d 1h 1m 1s"),
        ('{{ printf "%.3g" $value }}', 1.23456, "1.23"),
    ],
)
def test_a_template_is_rendered(template: str, value: float, expected: str) -> None:
    assert expected == rendered(template, LABELS, value, 0)


COUNTED = f"{counted('connection')} of orders {chosen('is', 'are')} out"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.9, "1 connection of orders is out"),
        (1.02, "1 connection of orders is out"),
        (1.6, "2 connections of orders are out"),
        (0.0, "0 connections of orders are out"),
    ],
)
def test_texts_are_english_for_one_and_for_many(value: float, expected: str) -> None:
    assert expected == rendered(COUNTED, LABELS, value, 0)


def test_texts_say_how_many_callers_wait_and_for_how_long() -> None:
    template = "Full." + waiting_now(Expressions(Options(matchers=('env=~"a%|b"',))))
    gauges = {"connpool_waiting": 1.0, "connpool_oldest_wait_seconds": 63.0}
    assert "Full. Callers that wait now: 1. The longest wait so far: 1m 3s." == rendered(
        template, LABELS, 1, 0, gauges
    )
    assert "Full." == rendered(template, LABELS, 1, 0)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"service": "shop", "cluster": "eu"}, "Pool orders (asyncpg) of shop in eu is full"),
        ({"service": "shop"}, "Pool orders (asyncpg) of shop is full"),
        ({}, "Pool orders (asyncpg) is full"),
    ],
)
def test_texts_name_the_service_and_the_cluster(labels: dict[str, str], expected: str) -> None:
    text = named(f"Pool {POOL} is full", Options())
    assert expected == rendered(text, {"pool": "orders", "kind": "asyncpg", **labels}, 1, 0)


def test_an_unknown_template_is_an_error() -> None:
    with pytest.raises(ValueError, match="unknown action"):
        rendered("{{ $value | humanize1024 }}", LABELS, 1, 0)
