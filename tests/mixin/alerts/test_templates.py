"""Rendering templates; the promtool tests show that Prometheus renders them equally."""

from __future__ import annotations

import pytest

from poolscope.mixin.alerts.promtool.templates import rendered

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


def test_an_unknown_template_is_an_error() -> None:
    with pytest.raises(ValueError, match="unknown action"):
        rendered("{{ $value | humanize1024 }}", LABELS, 1, 0)
