"""Evaluating the rules over series, and checking which alerts have fired at any time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from mixin.alerts.simulated_day import Series
from mixin.alerts.tools import problems
from poolscope.mixin.alerts.recording import RECORDING_GROUP
from poolscope.mixin.alerts.rules import ALERT_GROUPS

FIRED: Final = (
    'count by (alertname, severity) (max_over_time(ALERTS{{alertstate="firing",'
    'severity=~"critical|warning"}}[{seconds}s]))'
)
WATCHDOG_FIRED: Final = 'count(max_over_time(ALERTS{{alertname="ConnPoolWatchdog"}}[{seconds}s]))'


def values(samples: list[float | None]) -> str:
    """Return samples in promtool's notation; a series that ends is marked stale."""
    parts, was_there = [], False
    for sample in samples:
        parts.append(f"{sample:.10g}" if sample is not None else "stale" if was_there else "_")
        was_there = sample is not None
    return " ".join(parts)


def fires(
    promtool: str,
    folder: Path,
    rules: Path,
    series: Series,
    expected: list[dict[str, Any]],
    step: int = 60,
) -> str:
    """
    Return an error if other alerts than the expected ones have fired at any time.

    step: seconds between two samples, and between two evaluations.
    """
    seconds = step * (max(map(len, series.values())) - 1)
    checks = {FIRED: expected, WATCHDOG_FIRED: [{"labels": "{}", "value": 1}]}
    test = {
        "rule_files": [str(rules / "recording.yml"), str(rules / "rules.yml")],
        "evaluation_interval": f"{step}s",
        "group_eval_order": [RECORDING_GROUP, *ALERT_GROUPS],
        "tests": [
            {
                "interval": f"{step}s",
                "input_series": [
                    {"series": name, "values": values(samples)} for name, samples in series.items()
                ],
                "promql_expr_test": [
                    {
                        "expr": expr.format(seconds=seconds),
                        "eval_time": f"{seconds}s",
                        "exp_samples": samples,
                    }
                    for expr, samples in checks.items()
                ],
            }
        ],
    }
    # JSON is valid YAML.
    (folder / "replay.yml").write_text(json.dumps(test))
    return problems(promtool, "test", "rules", "replay.yml", folder=folder)


def alert(name: str, severity: str, count: int = 1) -> dict[str, Any]:
    labels = f'{{alertname="{name}", severity="{severity}"}}'
    return {"labels": labels, "value": count}
