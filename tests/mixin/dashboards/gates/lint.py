"""
Rules for a whole dashboard, and the function that checks all rules.

Many are taken from Grafana's dashboard-linter; the others are our own.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from mixin.dashboards.gates.interpolation import uses
from mixin.dashboards.gates.lint_panels import (
    asked,
    grid,
    ids,
    ineffective_options,
    kinds,
    legends,
    texts,
    units,
)
from mixin.dashboards.gates.lint_queries import queries, selections
from mixin.dashboards.gates.walking import (
    Json,
    asked_annotations,
    name,
    panels,
    strings,
    targets,
    variables,
    with_queries,
)

DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
SCHEMA_VERSION: Final = 39
UID_LENGTH: Final = 40
ON_TIME_CHANGE: Final = 2
NOT_A_VALUE: Final[tuple[Any, ...]] = (None, "", "default", "$__all", ["$__all"], [])

HOST: Final = re.compile(r"(?<![\w/])(?:\w+:)?//[^\s)\]>\"']+")
TO_DASHBOARD: Final = re.compile(r"/d/([^/?]+)")


def identity(dashboard: Json, prefix: str) -> Iterator[str]:
    uid = dashboard.get("uid") or ""
    if not re.fullmatch(rf"{re.escape(prefix)}[a-z0-9-]+", uid) or len(uid) > UID_LENGTH:
        yield f"uid {uid!r} is not {prefix}..."
    if dashboard.get("id") is not None:
        yield "it has an id, which only a server may assign"
    if not dashboard.get("title"):
        yield "no title"


def settings(dashboard: Json) -> Iterator[str]:
    if dashboard.get("schemaVersion") != SCHEMA_VERSION:
        yield f"schemaVersion is not {SCHEMA_VERSION}"
    if dashboard.get("timezone") not in ("browser", "utc"):
        yield "timezone is not set"
    if not re.fullmatch(r"\d+[smh]", dashboard.get("refresh") or ""):
        yield "refresh is not set"
    time = dashboard.get("time", {})
    if not time.get("from", "").startswith("now-") or time.get("to") != "now":
        yield "the time range does not end now"
    if dashboard.get("editable") is not False:
        yield "it is editable, although it is generated"


def _places(value: object, where: str) -> Iterator[tuple[str, Any]]:
    """Yield every data source in a value, at any depth."""
    if isinstance(value, dict):
        if "datasource" in value:
            yield where, value["datasource"]
        for inner in value.values():
            yield from _places(inner, where)
    elif isinstance(value, list):
        for inner in value:
            yield from _places(inner, where)


def _parts_with_datasource(dashboard: Json) -> Iterator[tuple[str, Json]]:
    """Yield every part of the dashboard that has a data source of its own."""
    for panel in with_queries(dashboard):
        yield name(panel), {**panel, "targets": []}
        for target in targets(panel):
            yield f"{name(panel)}, query {target.get('refId', '?')}", target
    for panel in panels(dashboard):
        if panel.get("type") in ("row", "text") and "datasource" in panel:
            yield name(panel), {"datasource": panel["datasource"]}
    for variable in variables(dashboard):
        if variable.get("type") == "query":
            yield f"variable {variable.get('name')!r}", variable
    for annotation in asked_annotations(dashboard):
        yield f"annotation {annotation.get('name')!r}", annotation


def datasources(dashboard: Json) -> Iterator[str]:
    """One variable selects the data source of all parts."""
    found = [each for each in variables(dashboard) if each.get("type") == "datasource"]
    if [(each.get("name"), each.get("query")) for each in found] != [("datasource", "prometheus")]:
        yield "there is not exactly one variable 'datasource', of type prometheus"
    for where, part in _parts_with_datasource(dashboard):
        if "datasource" not in part:
            yield f"{where}: no data source"
        for _, named in _places(part, where):
            if named != DATASOURCE:
                yield f"{where}: data source {named!r}"


def variables_used(dashboard: Json) -> Iterator[str]:
    """All variables are used, and all that are used exist."""
    names = {variable.get("name"): variable for variable in variables(dashboard)}
    if len(names) < len(variables(dashboard)):
        yield "two variables have the same name"
    repeats = {panel["repeat"] for panel in panels(dashboard) if panel.get("repeat")}
    used = repeats | {name for text in strings(dashboard) for name in uses(text)}
    for unknown in sorted(used - names.keys()):
        if not unknown.startswith("__"):
            yield f"${unknown} is used, but there is no such variable"
    for own, variable in names.items():
        rest = [other for other in variables(dashboard) if other is not variable]
        others = {**dashboard, "templating": {"list": rest}}
        elsewhere = repeats | {name for text in strings(others) for name in uses(text)}
        if own not in elsewhere:
            yield f"variable {own!r} is not used"


def variable_options(dashboard: Json) -> Iterator[str]:
    for variable in variables(dashboard):
        where, kind = f"variable {variable.get('name')!r}", variable.get("type")
        if kind == "query" and variable.get("refresh") != ON_TIME_CHANGE:
            yield f"{where}: it is not refreshed when the time range changes"
        if kind in ("datasource", "query"):
            chosen = variable.get("current", {}).get("value")
            if variable.get("options") or chosen not in NOT_A_VALUE:
                yield f"{where}: it contains values from a particular server"


def _data_links(value: object) -> Iterator[str]:
    """Yield the URLs of the links of panels and fields."""
    if isinstance(value, dict):
        if isinstance(value.get("url"), str):
            yield value["url"]
        for inner in value.values():
            yield from _data_links(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _data_links(inner)


def links(dashboard: Json) -> Iterator[str]:
    """Links to other dashboards keep the time range and the variables."""
    for link in dashboard.get("links", []):
        if link.get("type") == "dashboards" and not (
            link.get("keepTime") and link.get("includeVars")
        ):
            yield f"link {link.get('title')!r}: it loses the time range or the variables"
    for panel in panels(dashboard):
        for url in _data_links({**panel, "panels": []}):
            keeps_variables = "${__all_variables}" in url or "var-" in url
            if TO_DASHBOARD.search(url) and not ("${__url_time_range}" in url and keeps_variables):
                yield f"{name(panel)}: link {url!r} loses the time range or the variables"


def hosts(dashboard: Json, allowed: Collection[str]) -> Iterator[str]:
    for text in strings(dashboard):
        for url in HOST.findall(text):
            if not url.startswith(tuple(allowed)):
                yield f"{url!r} is on a foreign host"


RULES: Final = (
    *(settings, datasources, variables_used, variable_options, links),
    *(kinds, ids, texts, units, asked, legends, ineffective_options, grid),
)


def problems(
    dashboard: Json,
    *,
    prefix: str = "poolscope-",
    selected: Collection[str] = (),
    reasons: Mapping[str, str] | None = None,
    urls: Collection[str] = (),
) -> list[str]:
    """
    Return one line for each violation of a rule, with its place.

    prefix: the prefix of the dashboard's uid.
    selected: labels for which every selector that has them must use the variable of that name.
    reasons: the reasons for fixed time ranges, by title of the panel.
    urls: the prefixes of allowed URLs on other hosts.
    """
    rules: list[Iterator[str]] = [
        identity(dashboard, prefix),
        *(rule(dashboard) for rule in RULES),
        hosts(dashboard, urls),
        queries(dashboard, reasons or {}),
        selections(dashboard, selected),
    ]
    return [problem for rule in rules for problem in rule]


def problems_together(dashboards: Sequence[Json]) -> list[str]:
    """Return conflicts between dashboards: duplicate uids or titles, and dead links."""
    found = []
    for field in ("uid", "title"):
        count = Counter(dashboard.get(field) for dashboard in dashboards)
        found += [
            f"{n} dashboards have the {field} {value!r}" for value, n in count.items() if n > 1
        ]
    known = {dashboard.get("uid") for dashboard in dashboards}
    for dashboard in dashboards:
        leads = {uid for url in _data_links(dashboard) for uid in TO_DASHBOARD.findall(url)}
        found += [
            f"{dashboard.get('uid')!r} has a link to {uid!r}, which does not exist"
            for uid in sorted(leads - known)
        ]
        tags = {tag for link in dashboard.get("links", []) for tag in link.get("tags", [])}
        all_tags = {tag for other in dashboards for tag in other.get("tags", [])}
        found += [
            f"{dashboard.get('uid')!r} links by the tag {tag!r}, which no dashboard has"
            for tag in sorted(tags - all_tags)
        ]
    return found
