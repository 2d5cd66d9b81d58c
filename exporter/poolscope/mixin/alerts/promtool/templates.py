"""Renders the templates of alerts as Prometheus does, as far as the alerts use them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import quote_plus

from poolscope.mixin.alerts.texts import FAILING_HOSTS, MOST_HOSTS

NOTHING: Final[Mapping[str, float]] = MappingProxyType({})
LABEL: Final = re.compile(r"\{\{ \$labels\.(\w+)( \| urlquery)? \}\}")
WITH: Final = re.compile(r"\{\{ with \$labels\.(\w+) \}\}(.*?)\{\{ \. \}\}\{\{ end \}\}")
PRINTED: Final = re.compile(r'\{\{ printf "(%\.\d[fg])" \$value \}\}')
HUMANIZED: Final = re.compile(r"\{\{ \$value \| (humanizePercentage|humanizeDuration) \}\}")
TIME_QUERY: Final = re.compile(
    r'\{\{ with query "1000 \* \(time\(\) - (\d+)\)" \}\}.*?\{\{ end \}\}'
)


CHOSEN: Final = re.compile(
    r'\{\{ if eq \(printf "%\.0f" \$value\) "1" \}\}(.*?)\{\{ else \}\}(.*?)\{\{ end \}\}'
)
NOW: Final = re.compile(
    r'\{\{ with printf "\w+\((\w+)\{(?:[^"\\]|\\.)*"[^}]* \| query \}\}([^{]*)'
    r'\{\{ \. \| first \| value \| (printf "%\.0f"|humanizeDuration) \}\}([^{]*)\{\{ end \}\}'
)
HOSTS: Final = re.compile(
    r'\{\{ with printf "(?:[^"\\]|\\.)*"[^}]* \| query \}\} '
    + re.escape(f"{FAILING_HOSTS}.{{{{ end }}}}")
)


def rendered(
    template: str,
    labels: Mapping[str, str],
    value: float,
    now: float,
    gauges: Mapping[str, float] = NOTHING,
    hosts: Mapping[str, float] = NOTHING,
) -> str:
    """
    Return the text of a template; raises ValueError if it has an unknown action.

    gauges: the results of queries, by the name of the metric; all others have none.
    hosts: the result of the query for the hosts that fail.
    """
    text = TIME_QUERY.sub(lambda found: f"{1000 * (now - float(found[1])):.0f}", template)
    text = HOSTS.sub(lambda _: _failing(hosts), text)
    text = NOW.sub(lambda found: _now(gauges.get(found[1]), found), text)
    text = CHOSEN.sub(lambda found: found[1 if f"{value:.0f}" == "1" else 2], text)
    text = WITH.sub(lambda found: _with(labels.get(found[1], ""), found[2]), text)
    text = LABEL.sub(lambda found: _label(labels, found[1], quoted=bool(found[2])), text)
    text = PRINTED.sub(lambda found: found[1] % value, text)
    text = HUMANIZED.sub(lambda found: _humanized(found[1], value), text)
    if "{{" in text:
        raise ValueError(f"unknown action in a template: {text}")
    return text


def _now(value: float | None, found: re.Match[str]) -> str:
    if value is None:
        return ""
    shown = _humanized(found[3], value) if found[3] == "humanizeDuration" else f"{value:.0f}"
    return found[2] + shown + found[4]


def _failing(hosts: Mapping[str, float]) -> str:
    """Return the sentence that names the hosts that fail, the worst first."""
    if not hosts:
        return ""
    named = [
        f"{host} ({_humanized('humanizePercentage', share)} of the attempts)"
        for host, share in sorted(hosts.items(), key=lambda item: -item[1])[:MOST_HOSTS]
    ]
    more = ", and others" if len(hosts) > MOST_HOSTS else ""
    return f" Hosts that fail ({len(hosts)}): {', '.join(named)}{more}."


def _with(value: str, before: str) -> str:
    return before + value if value else ""


def _label(labels: Mapping[str, str], name: str, *, quoted: bool) -> str:
    value = labels.get(name, "")
    return quote_plus(value) if quoted else value


def _humanized(how: str, value: float) -> str:
    if how == "humanizePercentage":
        return f"{value * 100:.4g}%"
    if abs(value) < 60:
        return f"{value:.4g}s"
    whole = int(value)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    text = f"{minutes}m {whole % 60}s"
    if days or hours:
        text = f"{hours}h {text}"
    return f"{days}d {text}" if days else text
