"""Parts of the texts of alerts: templates of Prometheus."""

from __future__ import annotations

import json
from typing import Final

from poolscope.mixin.alerts.expressions import Expressions

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


def _now(promql: Expressions, operation: str, family: str, shown: str, before: str) -> str:
    """Return a sentence with the value of a gauge of the pool of the alert."""
    labels = promql.pool_labels
    gauge = promql.select(family, *(f"{label}=PLACE" for label in labels))
    # Matchers of the user may have a % of their own.
    query = json.dumps(f"{operation}({gauge})".replace("%", "%%").replace("PLACE", "%q"))
    values = " ".join(f"$labels.{label}" for label in labels)
    result = f"{{{{ . | first | value | {shown} }}}}"
    return f"{{{{ with printf {query} {values} | query }}}} {before}{result}.{{{{ end }}}}"
