"""What a rule is: the form that files, tests and objects for the operator are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from poolscope.mixin.alerts.options import Options
from poolscope.mixin.thresholds import seconds

Severity = Literal["critical", "warning", "info"]
Json = dict[str, Any]

POOL: Final = "{{ $labels.pool }} ({{ $labels.kind }})"
SERVER: Final = "{{ $labels.server }}"
SINCE: Final = '{{ with query "BACK" }}{{ . | first | value | printf "%.0f" }}{{ end }}'


@dataclass(frozen=True, slots=True)
class Record:
    """A recording rule."""

    name: str
    expr: str

    def document(self, options: Options) -> Json:
        return {"record": self.name, "expr": self.expr}


@dataclass(frozen=True, slots=True)
class Alert:
    """
    An alert rule.

    summary, description: what is wrong, and with which numbers; templates of Prometheus.
    for_duration: for how long it must be so.
    board: the key of the dashboard that shows it, and
    chosen: the labels that it is opened with, as variables of the same name.
    labels: further ones.
    """

    name: str
    severity: Severity
    expr: str
    summary: str
    description: str
    for_duration: str = ""
    dashboard: str = "overview"
    dashboard_variables: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)

    def document(self, options: Options) -> Json:
        made: Json = {"alert": self.name, "expr": self.expr}
        if self.for_duration:
            made["for"] = self.for_duration
        made["labels"] = {"severity": self.severity, **self.labels}
        made["annotations"] = {
            "summary": self.summary,
            "description": self.description,
            "runbook_url": f"{options.runbooks.rstrip('/')}/{self.name}.md",
            "dashboard_url": self._dashboard_url(options),
        }
        return made

    def _dashboard_url(self, options: Options) -> str:
        """Return the address of the dashboard, with what it is about, from before it began."""
        chosen = [
            f"var-{label}={{{{ $labels.{label} | urlquery }}}}"
            for label in self.dashboard_variables
        ]
        back = f"1000 * (time() - {seconds(options.look_back):.0f})"
        since = SINCE.replace("BACK", back)
        address = f"{options.grafana.rstrip('/')}/d/{options.uid_prefix}-{self.dashboard}"
        return f"{address}?" + "&".join([*chosen, f"from={since}", "to=now"])


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that are evaluated together, one after the other."""

    name: str
    rules: Sequence[Record | Alert]

    def document(self, options: Options) -> Json:
        return {"name": self.name, "rules": [rule.document(options) for rule in self.rules]}
