"""The findings of a check in the formats that people and build servers read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import PurePath
from typing import Any, Final
from urllib.parse import quote
from xml.etree import ElementTree

from poolscope.checking.accepted import identity
from poolscope.checking.found import DOCS, Checked, Place, page_of, place_of
from poolscope.label_values import printable
from poolscope.readings.findings import RULES, Finding

Findings = Sequence[Finding]

REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
"""Stands for each character that XML does not allow."""


def text(checked: Checked, findings: Findings) -> str:
    """Return lines as compilers and linters print them, and a last line that sums them up."""
    lines = []
    for finding in findings:
        place, *others = _places(finding) or [None]
        lines.append(
            f"{_begin(place)}{finding.severity}: {finding.rule}: "
            f"{' '.join(_message(finding).split())}"
        )
        lines += [f"    also {_shown(other)}" for other in others if other is not None]
        page = page_of(finding.rule)
        if page is not None:
            lines.append(f"    see {page}")
    lines.append(_summary(checked, findings))
    return _joined(lines)


def _joined(lines: Iterable[str]) -> str:
    """Return the lines, which no name can break, nor make a terminal do something."""
    return "".join(f"{printable(line)}\n" for line in lines)


def _summary(checked: Checked, findings: Findings) -> str:
    pools = f"{len(checked.pools)} pool{'' if len(checked.pools) == 1 else 's'}"
    if not findings:
        return f"Nothing found in {pools} of {checked.source}."
    many = "" if len(findings) == 1 else "s"
    return f"Found {len(findings)} mistake{many} in {pools} of {checked.source}."


def _message(finding: Finding) -> str:
    return f"{finding.message} [pool {finding.pool}, {finding.kind}]"


def _begin(place: Place | None) -> str:
    return f"{_shown(place)}: " if place is not None else ""


def _shown(place: Place) -> str:
    return f"{place.file}:{place.line}" if place.line else place.file


def _places(finding: Finding) -> list[Any]:
    return [place_of(site) for site in finding.sites]


def as_json(checked: Checked, findings: Findings) -> str:
    """Return a JSON document with all of it."""
    document = {
        "source": checked.source,
        "pools": [
            {
                "pool": pool.pool,
                "kind": pool.kind,
                "in_use": int(pool.in_use),
                "limit": int(pool.limit) if pool.limit < float("inf") else None,
                "instances": int(pool.instances),
            }
            for pool in checked.pools
        ],
        "findings": [
            {
                "rule": finding.rule,
                "severity": finding.severity,
                "pool": finding.pool,
                "kind": finding.kind,
                "message": finding.message,
                "sites": list(finding.sites),
                "page": page_of(finding.rule),
            }
            for finding in findings
        ],
    }
    return json.dumps(document, indent=2) + "\n"


_GITHUB: Final = {"critical": "error", "warning": "warning", "info": "notice"}


def github(checked: Checked, findings: Findings) -> str:
    """Return commands that GitHub Actions shows as annotations, and the summary."""
    lines = [_annotation(finding) for finding in findings]
    return _joined([*lines, _summary(checked, findings)])


def _annotation(finding: Finding) -> str:
    properties = []
    for place in _places(finding)[:1]:
        properties.append(f"file={_property(place.file)}")
        if place.line:
            properties.append(f"line={place.line}")
    properties.append(f"title={_property(f'poolscope: {finding.rule}')}")
    return f"::{_GITHUB[finding.severity]} {','.join(properties)}::{_data(_message(finding))}"


def _data(value: str) -> str:
    """Escape a message, as the toolkit of GitHub Actions does."""
    return value.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(value: str) -> str:
    return _data(value).replace(":", "%3A").replace(",", "%2C")


_SARIF_LEVELS: Final = {"critical": "error", "warning": "warning", "info": "note"}


def sarif(checked: Checked, findings: Findings) -> str:
    """Return SARIF 2.1.0, which code scanning reads."""
    import poolscope

    rules = sorted({finding.rule for finding in findings})
    run = {
        "tool": {
            "driver": {
                "name": "poolscope",
                "version": poolscope.__version__,
                "informationUri": DOCS,
                "rules": [_sarif_rule(rule) for rule in rules],
            }
        },
        "results": [_sarif_result(finding, rules.index(finding.rule)) for finding in findings],
    }
    document = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [run],
    }
    return json.dumps(document, indent=2) + "\n"


def _sarif_rule(rule: str) -> dict[str, Any]:
    severity = RULES[rule].severity if rule in RULES else "critical"
    described: dict[str, Any] = {
        "id": rule,
        "shortDescription": {"text": rule.replace("-", " ")},
        "defaultConfiguration": {"level": _SARIF_LEVELS[severity]},
    }
    page = page_of(rule)
    return {**described, "helpUri": page} if page is not None else described


def _sarif_result(finding: Finding, index: int) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": finding.rule,
        "ruleIndex": index,
        "level": _SARIF_LEVELS[finding.severity],
        "message": {"text": _message(finding)},
        "partialFingerprints": {"poolscope/v1": json.dumps(identity(finding))},
    }
    locations: list[dict[str, Any]] = []
    for place in _places(finding):
        location = _sarif_location(place)
        if location not in locations:  # two spellings of a path may be one address
            locations.append(location)
    if locations:
        # More than the first is about the same mistake.
        result["locations"] = locations[:1]
    if locations[1:]:
        result["relatedLocations"] = locations[1:]
    return result


def _sarif_location(place: Place) -> dict[str, Any]:
    path = PurePath(place.file)
    uri = quote(path.as_posix(), errors="replace")
    if path.is_absolute():
        uri = f"file://{uri}"
    physical: dict[str, Any] = {"artifactLocation": {"uri": uri}}
    if place.line:
        physical["region"] = {"startLine": place.line}
    location: dict[str, Any] = {"physicalLocation": physical}
    if place.function:
        location["logicalLocations"] = [{"name": place.function, "kind": "function"}]
    return location


def junit(checked: Checked, findings: Findings) -> str:
    """Return JUnit's XML: a test case for each pool and each finding of it."""
    suite = ElementTree.Element("testsuite", name="poolscope")
    for pool in checked.pools:
        if all((each.pool, each.kind) != (pool.pool, pool.kind) for each in findings):
            _case(suite, pool.kind, pool.pool)
    for finding in findings:
        case = _case(suite, finding.kind, f"{finding.pool}: {finding.rule}")
        failure = ElementTree.SubElement(
            case, "failure", type=finding.severity, message=_clean(finding.message)
        )
        failure.text = _clean("\n".join((*finding.sites, *filter(None, [page_of(finding.rule)]))))
    suite.set("tests", str(len(suite)))
    suite.set("failures", str(len(findings)))
    ElementTree.indent(suite)
    root = ElementTree.tostring(suite, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{root}\n'


def _case(suite: ElementTree.Element, kind: str, name: str) -> ElementTree.Element:
    attributes = {"classname": f"pool.{_clean(kind)}", "name": _clean(name)}
    return ElementTree.SubElement(suite, "testcase", attributes)


def _clean(value: str) -> str:
    """Replace the characters that XML cannot have."""
    return "".join(_valid(value))


def _valid(value: str) -> Iterator[str]:
    for character in value:
        code = ord(character)
        valid = code in (9, 10, 13) or 0x20 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD
        yield character if valid or code >= 0x10000 else REPLACEMENT


FORMATS: Final[dict[str, Callable[[Checked, Findings], str]]] = {
    "text": text,
    "json": as_json,
    "github": github,
    "sarif": sarif,
    "junit": junit,
}
