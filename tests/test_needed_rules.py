"""The rules that the test of an alert needs: the alert's, and the recording rules behind it."""

from __future__ import annotations

from scripts.needed_rules import needed_rules

RECORDING = {
    "groups": [
        {
            "name": "recording",
            "rules": [
                {"record": "pool:a:rate5m", "expr": "rate(a[5m])"},
                {"record": "pool:b:rate5m", "expr": "avg_over_time(pool:a:rate5m[1h])"},
                {"record": "pool:c:rate5m", "expr": "rate(c[5m])"},
            ],
        }
    ]
}
ALERTS = {
    "groups": [
        {"name": "one", "rules": [{"alert": "First", "expr": "pool:b:rate5m > 1"}]},
        {
            "name": "two",
            "rules": [
                {"alert": "Second", "expr": "c > 1"},
                {"alert": "Second", "expr": "pool:c:rate5m > 1"},
            ],
        },
    ]
}


def of(alert: str | None) -> tuple[list[str], list[list[str]]]:
    """Return the recorded series that are kept, and the expressions of alerts in each group."""
    recording, alerts = needed_rules(RECORDING, ALERTS, alert)
    assert [group["name"] for group in alerts["groups"]] == ["one", "two"]
    return (
        [rule["record"] for rule in recording["groups"][0]["rules"]],
        [[rule["expr"] for rule in group["rules"]] for group in alerts["groups"]],
    )


def test_an_alert_needs_what_it_uses_and_what_that_uses() -> None:
    assert (["pool:a:rate5m", "pool:b:rate5m"], [["pool:b:rate5m > 1"], []]) == of("First")


def test_all_rules_of_one_name_are_kept() -> None:
    assert (["pool:c:rate5m"], [[], ["c > 1", "pool:c:rate5m > 1"]]) == of("Second")


def test_recording_rules_are_tested_without_alerts() -> None:
    recorded = ["pool:a:rate5m", "pool:b:rate5m", "pool:c:rate5m"]
    assert (recorded, [[], []]) == of(None)
