"""Evaluating the rules over series, and checking which alerts have fired at any time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from mixin.alerts.simulated_day import Series
from mixin.alerts.tools import problems
from poolscope.mixin.alerts.recording import RECORDING_GROUP
from poolscope.mixin.alerts.rules import ALERT_GROUPS

FIRING: Final = 'ALERTS{alertstate="firing",severity=~"critical|warning"}'
FIRED: Final = (
    "sum by (alertname, severity) (count_over_time("
    f"({FIRING} unless {FIRING} offset STEPs)[SECONDSs:STEPs]))"
)
"""How many alerts have begun to fire: one that has ended, and fires again, counts twice."""

WATCHDOG_FIRED: Final = 'count(max_over_time(ALERTS{alertname="ConnPoolWatchdog"}[SECONDSs]))'


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
    Return an error if other alerts than the expected ones have fired at any time, or if one of them
    has fired, ended, and fired again.

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
                        "expr": expr.replace("SECONDS", f"{seconds}").replace("STEP", f"{step}"),
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
