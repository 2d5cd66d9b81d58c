"""Parts of the texts of alerts: templates of Prometheus."""

from __future__ import annotations

import json
from typing import Final

from poolscope.mixin.alerts.expressions import Expressions, number

COUNT: Final = 'printf "%.0f" $value'


def chosen(one: str, many: str) -> str:
    """Return the first word if the value, as it is printed, is 1, else the second one."""
    return f'{{{{ if eq ({COUNT}) "1" }}}}{one}{{{{ else }}}}{many}{{{{ end }}}}'


def counted(one: str, many: str = "") -> str:
    """Return the value and its noun; the default plural is regular."""
    return f"{{{{ {COUNT} }}}} {chosen(one, many or f'{one}s')}"


def waiting_now(promql: Expressions) -> str:
    """Return sentences that say how many callers wait now, and since when, where that is known."""
    count = _now(promql, "sum", "waiting", 'printf "%.0f"', "Callers that wait now: ")
    longest = _now(
        promql, "max", "oldest_wait_seconds", "humanizeDuration", "The longest wait so far: "
    )
    return count + longest


MOST_HOSTS: Final = 5
"""How many hosts a text names."""


def failing_hosts(promql: Expressions) -> str:
    """
    Return a sentence that names the hosts to which connections cannot be opened, the worst first.

    There is none where none fails so often that it counts, nor for a pool of a single server.
    """
    places = [f"{label}=PLACE{at}" for at, label in enumerate(promql.pool_labels, 1)]
    share = promql.failed_share_of_hosts(*places, by=("host",))
    enough = promql.failures_of_hosts(*places, by=("host",))
    thresholds = promql.thresholds
    condition = f"{share} > {number(thresholds.open_failures[0])}"
    query = f"sort_desc({condition} and {enough} >= {number(thresholds.events)})"
    # Matchers of the user may have a % of their own.
    query = query.replace("\n ", "").replace("%", "%%")
    for at in range(1, 1 + len(places)):
        query = query.replace(f"PLACE{at}", f"%[{at}]q")
    values = " ".join(f"$labels.{label}" for label in promql.pool_labels)
    return (
        f"{{{{ with printf {json.dumps(query)} {values} | query }}}} {FAILING_HOSTS}.{{{{ end }}}}"
    )


FAILING_HOSTS: Final = (
    "Hosts that fail ({{ len . }}): {{ range $at, $host := . }}"
    f"{{{{ if lt $at {MOST_HOSTS} }}}}"
    '{{ if $at }}, {{ end }}{{ $host | label "host" }} '
    "({{ $host | value | humanizePercentage }} of the attempts)"
    f"{{{{ end }}}}{{{{ end }}}}{{{{ if gt (len .) {MOST_HOSTS} }}}}, and others{{{{ end }}}}"
)


def _now(promql: Expressions, operation: str, family: str, shown: str, before: str) -> str:
    """Return a sentence with the value of a gauge of the pool of the alert."""
    labels = promql.pool_labels
    gauge = promql.select(family, *(f"{label}=PLACE" for label in labels))
    # Matchers of the user may have a % of their own.
    query = json.dumps(f"{operation}({gauge})".replace("%", "%%").replace("PLACE", "%q"))
    values = " ".join(f"$labels.{label}" for label in labels)
    result = f"{{{{ . | first | value | {shown} }}}}"
    return f"{{{{ with printf {query} {values} | query }}}} {before}{result}.{{{{ end }}}}"
