"""
The rules that the test of one alert needs: with the others, promtool takes up to thirty times as
long.
"""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def needed_rules(recording: Json, rules: Json, alert: str | None) -> tuple[Json, Json]:
    """
    Return the documents of recording rules and of alerts with only what that alert needs.

    Groups stay, as tests name them. alert: None for all recording rules and no alert.
    """
    alerts = [rule for rule in _rules(rules) if rule["alert"] == alert]
    names = {rule["record"] for rule in _rules(recording)}
    if alert is not None:
        names = _used(names, recording, " ".join(rule["expr"] for rule in alerts))
    return (
        _only(recording, [rule for rule in _rules(recording) if rule["record"] in names]),
        _only(rules, alerts),
    )


def _used(names: set[str], recording: Json, text: str) -> set[str]:
    """Return the names of the recorded series that a text uses, or those that these use."""
    used: set[str] = set()
    # A name that is the beginning of another one is found with it; that rule is then one too many.
    while found := {name for name in names - used if name in text}:
        used |= found
        text = " ".join(rule["expr"] for rule in _rules(recording) if rule["record"] in found)
    return used


def _rules(document: Json) -> list[Json]:
    return [rule for group in document["groups"] for rule in group["rules"]]


def _only(document: Json, kept: list[Json]) -> Json:
    groups = [
        {**group, "rules": [rule for rule in group["rules"] if rule in kept]}
        for group in document["groups"]
    ]
    return {**document, "groups": groups}
