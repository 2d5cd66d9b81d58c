"""
Show that the tests of the alerts can fail: change one thing after the other in the generated rules,
and run the promtool tests of the alert, or all tests for a recording rule.

    mutate_alerts.py [WORD ...]    only the rules whose name has one of the words

Changed are numbers, comparisons, `for`, labels, label matchers, and the labels that sums are by.
Exits with 1 if a change goes unnoticed that `EXPLAINED` does not explain.
"""

from __future__ import annotations

import copy
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from poolscope.mixin.alerts.options import Options
from poolscope.mixin.alerts.write import files
from poolscope.mixin.thresholds import seconds

AT_ONCE: Final = 2

TREND: Final = "it is estimated from many numbers, and never exactly at the limit"
ALWAYS: Final = "it fires whatever the number is, and nobody sees the number"

EXPLAINED: Final[dict[tuple[str, str], str]] = {
    (
        "ConnPoolExhaustionPredicted warning",
        "...in_use_seconds:ratio_rate5m[6h], 14400)[> -> >=]",
    ): TREND,
    (
        "ConnPoolExhaustionPredicted warning",
        "...nnpool_in_use_seconds:ratio_rate5m[1h])[> -> >=]",
    ): TREND,
    ("ConnPoolWatchdog info", "...vector([1 -> 0.9]"): ALWAYS,
    ("ConnPoolWatchdog info", "...vector([1 -> 1.1]"): ALWAYS,
}
"""By the rule and the change: why no test can notice it."""

SKIPPED: Final = re.compile(
    r'"[^"]*"|\[[^\]]*\]|by \([^)]*\)|on \([^)]*\)|offset \w+|[a-zA-Z_:][a-zA-Z0-9_:]*'
)
NUMBER: Final = re.compile(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?")
COMPARISON: Final = re.compile(r">=|<=|==|!=|>|<")
MATCHER: Final = re.compile(r'(\w+)(=~|!=|!~|=)"([^"]*)"')
BY: Final = re.compile(r"(?:by|on) \(([^)]+)\)")
OTHERS: Final = {
    ">": ("<", ">="),
    "<": (">", "<="),
    ">=": ("<", ">"),
    "<=": (">", "<"),
    "==": ("!=",),
    "!=": ("==",),
}

Json = dict[str, Any]


@dataclass(frozen=True)
class Mutant:
    """A rule that was changed: `what` says how; `rule` is the changed one, at its place."""

    name: str
    what: str
    place: tuple[str, int, int]
    rule: Json


def mutants(documents: dict[str, Json]) -> Iterator[Mutant]:
    for file, document in documents.items():
        for group, rules in enumerate(document["groups"]):
            for number, rule in enumerate(rules["rules"]):
                name = rule.get("alert") or rule["record"]
                severity = rule.get("labels", {}).get("severity", "recording")
                window = rule.get("labels", {}).get("window") or rule.get("labels", {}).get(
                    "coverage", ""
                )
                full = " ".join(filter(None, (name, severity, window)))
                for what, changed in changes(rule):
                    yield Mutant(full, what, (file, group, number), changed)


def changes(rule: Json) -> Iterator[tuple[str, Json]]:
    for what, expr in expressions(rule["expr"]):
        yield what, {**rule, "expr": expr}
    if "alert" in rule:
        yield from durations(rule)
        for label, value in rule["labels"].items():
            yield (
                f"label {label}={value} is another",
                {**rule, "labels": {**rule["labels"], label: f"not-{value}"}},
            )
            left = {key: old for key, old in rule["labels"].items() if key != label}
            yield f"label {label} is gone", {**rule, "labels": left}


def durations(rule: Json) -> Iterator[tuple[str, Json]]:
    if "for" not in rule:
        yield "for: 1m", {**rule, "for": "1m"}
        return
    lasts = seconds(rule["for"])
    little = max(60, lasts / 5)
    for other in (0, lasts - little, lasts + little, 2 * lasts):
        yield f"for: {rule['for']} is {other:.0f}s", {**rule, "for": f"{other:.0f}s"}


def expressions(expr: str) -> Iterator[tuple[str, str]]:
    """Return each change of an expression, and what it is."""
    plain = SKIPPED.sub(lambda found: "_" * len(found[0]), expr)
    for found in NUMBER.finditer(plain):
        value = float(found[0])
        for other in (value * 0.9, value * 1.1) if value else (1.0, -1.0):
            yield replaced(expr, found.start(), found.end(), f"{other:.12g}")
    for found in COMPARISON.finditer(blank_braces(plain)):
        for operator in OTHERS[found[0]]:
            yield replaced(expr, found.start(), found.end(), operator)
    for found in MATCHER.finditer(expr):
        if inside_braces(expr, found.start()):
            yield replaced(expr, found.start(3), found.end(3), "other")
            yield replaced(expr, found.start(), found.end(), "")
    for found in BY.finditer(expr):
        labels = found[1].split(", ")
        for label in labels:
            left = ", ".join(other for other in labels if other != label)
            yield replaced(expr, found.start(1), found.end(1), left)


def blank_braces(text: str) -> str:
    return re.sub(r"\{[^}]*\}", lambda found: "_" * len(found[0]), text)


def inside_braces(text: str, place: int) -> bool:
    return text.rfind("{", 0, place) > text.rfind("}", 0, place)


def replaced(text: str, start: int, end: int, new: str) -> tuple[str, str]:
    before = " ".join(text[max(0, start - 40) : start].split())
    return f"...{before}[{text[start:end]} -> {new}]", text[:start] + new + text[end:]


def killed(mutant: Mutant, texts: dict[str, str], documents: dict[str, Json]) -> bool:
    """Return whether the tests fail with the change."""
    file, group, number = mutant.place
    changed = copy.deepcopy(documents)
    changed[file]["groups"][group]["rules"][number] = mutant.rule
    name = mutant.rule.get("alert")
    # Alerts do not depend on each other: without the others it is quicker.
    for each in changed["rules.yml"]["groups"]:
        each["rules"] = [rule for rule in each["rules"] if rule["alert"] == name]
    test = f"tests/{name or 'recording'}.yml"
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "tests").mkdir()
        (root / test).write_text(texts[test])
        for path, document in changed.items():
            (root / path).write_text(yaml.safe_dump(document))
        result = subprocess.run(  # noqa: S603 - our own files
            ["promtool", "test", "rules", test],  # noqa: S607 - whichever is installed
            cwd=root,
            env={**os.environ, "TMPDIR": folder},
            capture_output=True,
            check=False,
        )
    return result.returncode != 0


def main() -> int:
    words = sys.argv[1:]
    texts = files(Options())
    documents = {name: yaml.safe_load(texts[name]) for name in ("recording.yml", "rules.yml")}
    chosen = [
        mutant
        for mutant in mutants(documents)
        if not words or any(word in mutant.name for word in words)
    ]
    survived = 0
    if Path("/dev/shm").is_dir():  # noqa: S108 - promtool writes much that nobody needs
        tempfile.tempdir = "/dev/shm"  # noqa: S108 - as above
    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = pool.map(lambda mutant: killed(mutant, texts, documents), chosen)
        for mutant, dead in zip(chosen, results, strict=True):
            why = EXPLAINED.get((mutant.name, mutant.what))
            verdict = "killed" if dead else "SURVIVED" if why is None else "explained"
            survived += verdict == "SURVIVED"
            print(f"{verdict:>9}  {mutant.name}: {mutant.what}", flush=True)
            if verdict == "explained":
                print(f"{'':>11}{why}")
    print(f"{len(chosen)} changes, {survived} survived without an explanation")
    return 1 if survived or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
