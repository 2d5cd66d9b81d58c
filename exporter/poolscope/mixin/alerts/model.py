"""Rules and groups of rules, from which files, tests and operator objects are made."""

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
QUERY_RESULT: Final = (
    '{{ with query "EXPRESSION" }}{{ . | first | value | printf "%.0f" }}{{ end }}'
)


def whose(options: Options, *, service: bool = True) -> str:
    """Return the words that name the service and the cluster of an alert, where it has them."""
    words = (("of", options.service if service else ""), ("in", options.cluster))
    return "".join(
        f"{{{{ with $labels.{label} }}}} {word} {{{{ . }}}}{{{{ end }}}}"
        for word, label in words
        if label
    )


def named(text: str, options: Options) -> str:
    """Return a text in which pools are named with their services, and servers with clusters."""
    text = text.replace(POOL, f"{POOL}{whose(options)}")
    return text.replace(SERVER, f"{SERVER}{whose(options, service=False)}")


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

    summary, description: what is wrong, without and with numbers; templates of Prometheus. The
        service and the cluster are added to POOL and SERVER.
    for_duration: how long the condition must hold before the alert fires.
    keep_firing_for: how long it still fires after the condition has ended, or has no value.
    dashboard: the key of the dashboard that shows the cause.
    dashboard_variables: labels of the alert that select the variables of that dashboard.
    variables_of: the variables that a label selects, where they have other names.
    labels: labels besides the severity.
    """

    name: str
    severity: Severity
    expr: str
    summary: str
    description: str
    for_duration: str = ""
    keep_firing_for: str = ""
    dashboard: str = "overview"
    dashboard_variables: Sequence[str] = ()
    variables_of: Mapping[str, Sequence[str]] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    def document(self, options: Options) -> Json:
        document: Json = {"alert": self.name, "expr": self.expr}
        if self.for_duration:
            document["for"] = self.for_duration
        if self.keep_firing_for and seconds(self.keep_firing_for):
            document["keep_firing_for"] = self.keep_firing_for
        document["labels"] = {"severity": self.severity, **self.labels}
        runbook = f"{options.runbooks.rstrip('/')}/{self.name}.md"
        document["annotations"] = {
            "summary": named(self.summary, options),
            "description": named(self.description, options),
            **({"runbook_url": runbook} if options.runbooks else {}),
            "dashboard_url": self._dashboard_url(options),
        }
        return document

    def _dashboard_url(self, options: Options) -> str:
        """Return the URL of the dashboard, with its variables selected, from before the alert."""
        variables = [
            f"var-{variable}={{{{ $labels.{label} | urlquery }}}}"
            for label in self.dashboard_variables
            for variable in self.variables_of.get(label, (label,))
        ]
        start = f"1000 * (time() - {seconds(options.look_back):.0f})"
        begins = QUERY_RESULT.replace("EXPRESSION", start)
        url = f"{options.grafana.rstrip('/')}/d/{options.uid_prefix}-{self.dashboard}"
        return f"{url}?" + "&".join([*variables, f"from={begins}", "to=now"])


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that Prometheus evaluates one after the other."""

    name: str
    rules: Sequence[Record | Alert]

    def document(self, options: Options) -> Json:
        return {"name": self.name, "rules": [rule.document(options) for rule in self.rules]}
