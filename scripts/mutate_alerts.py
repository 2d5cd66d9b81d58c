"""
Show that the tests of the alerts can fail: make one change after the other in the generated rules,
and run the promtool tests of the changed alert or of the recording rules.

    python -m scripts.mutate_alerts [WORD ...]

WORD: change only rules whose name contains one of the words.

PROMTOOL is the path of another promtool than the one that is installed.

The changes are of numbers, comparisons, `for`, labels, label matchers, and grouping labels. Exits
with 1 if a change survives that `EXPLAINED` does not explain.
"""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from scripts.needed_rules import needed_rules

from poolscope.mixin.alerts.options import Options
from poolscope.mixin.alerts.write import files
from poolscope.mixin.thresholds import seconds

PARALLEL_RUNS: Final = 2

RULES: Final = ("recording.yml", "rules.yml")

TREND: Final = "the trend is estimated from many samples, and is never exactly at the limit"
SHARE: Final = "a share of an hour has rounding errors, and is never exactly at its threshold"
USED: Final = "a mean of an hour has rounding errors, and is never exactly at its threshold"
ROUNDED: Final = "versions of Prometheus round rates differently, so no test is at the bound"
STEP: Final = "a step of these tests is a whole window, and the change is less than a step"
ALWAYS: Final = "the alert fires with any value, and the value is not shown"

EXPLAINED: Final[dict[tuple[str, str], str]] = {
    (
        "ConnPoolExhaustionPredicted warning",
        "...in_use_seconds:ratio_rate5m[6h], 14400)[> -> >=]",
    ): TREND,
    (
        "ConnPoolExhaustionPredicted warning",
        "...nnpool_in_use_seconds:ratio_rate5m[1h])[> -> >=]",
    ): TREND,
    (
        "ConnPoolNearExhaustion warning",
        "...nnpool_in_use_seconds:ratio_rate5m[1h])[> -> >=]",
    ): TREND,
    **{
        (
            f"ConnPoolAcquire{what} {severity}",
            f"...{before}(connpool_acquires_total[{window}]))[> -> >=]",
        ): SHARE
        for what in ("Errors", "Timeouts")
        for severity, window, before in (
            ("critical", "1h", "(increase"),
            ("critical", "300s", "ncrease"),
            ("warning", "1h", "(increase"),
            ("warning", "600s", "ncrease"),
        )
    },
    **{
        (
            f"ConnPoolAcquireSlow {severity} {window}",
            f"...l_acquire_seconds:rate5m[{used}] offset {used})[>= -> >]",
        ): USED
        for severity, window, used in (
            ("critical", "1h", "1h"),
            ("critical", "6h", "1h"),
            ("warning", "1d", "2h"),
            ("warning", "3d", "6h"),
        )
    },
    **{
        (f"ConnPoolAcquireSlow {severity} {window}", change): STEP
        for severity, window, change in (
            *(
                ("critical", window, f"{what}: 5m -> 240s")
                for window in ("1h", "6h")
                for what in ("for", "keep_firing_for")
            ),
            *(("warning", window, "for: 15m -> 720s") for window in ("1d", "3d")),
        )
    },
    **{
        (
            f"ConnPoolLowReuse {severity}",
            '...pool_acquires_total{outcome="ok"}[5m]))[< -> <=]',
        ): ROUNDED
        for severity in ("warning", "info")
    },
    (
        "ConnPoolExhausted critical",
        "...connpool_saturated_seconds:ratio_rate5m[> -> >=]",
    ): ROUNDED,
    ("ConnPoolExhausted critical", "...pool:connpool_waiting_seconds:rate5m[> -> >=]"): ROUNDED,
    (
        "ConnPoolOpenFailures warning",
        "...ease(connpool_host_opened_total[600s]))[> -> >=]",
    ): ROUNDED,
    ("ConnPoolWatchdog info", "...vector([1 -> 0.9]"): ALWAYS,
    ("ConnPoolWatchdog info", "...vector([1 -> 1.1]"): ALWAYS,
}
"""Why no test can detect a change, by rule and change."""

NO_NUMBERS: Final = re.compile(
    r'"[^"]*"|\[[^\]]*\]|by \([^)]*\)|on \([^)]*\)|offset \w+|[a-zA-Z_:][a-zA-Z0-9_:]*'
)
NUMBER: Final = re.compile(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?")
COMPARISON: Final = re.compile(r">=|<=|==|!=|>|<")
MATCHER: Final = re.compile(r'(\w+)(=~|!=|!~|=)"([^"]*)"')
GROUPING: Final = re.compile(r"(?:by|on) \(([^)]+)\)")
OTHER_COMPARISONS: Final = {
    ">": ("<", ">="),
    "<": (">", "<="),
    ">=": ("<", ">"),
    "<=": (">", "<"),
    "==": ("!=",),
    "!=": ("==",),
}

Json = dict[str, Any]
Place = tuple[str, int, int]


@dataclass(frozen=True)
class Mutant:
    """
    A changed rule.

    name: the name of the rule, with its severity and further labels.
    what: a description of the change.
    place: the file, and the numbers of the group and of the rule.
    rule: the changed rule.
    """

    name: str
    what: str
    place: Place
    rule: Json


def mutants(documents: dict[str, Json]) -> Iterator[Mutant]:
    for place, rule in rules_of(documents):
        labels = rule.get("labels", {})
        name, severity = rule.get("alert") or rule["record"], labels.get("severity", "recording")
        window = labels.get("window") or labels.get("coverage", "")
        full = " ".join(filter(None, (name, severity, window)))
        for what, changed in changes(rule):
            yield Mutant(full, what, place, changed)


def rules_of(documents: dict[str, Json]) -> Iterator[tuple[Place, Json]]:
    """Yield each rule with its file, and the numbers of its group and of itself."""
    for file, document in documents.items():
        for group, rules in enumerate(document["groups"]):
            for number, rule in enumerate(rules["rules"]):
                yield (file, group, number), rule


def changes(rule: Json) -> Iterator[tuple[str, Json]]:
    for what, expr in expressions(rule["expr"]):
        yield what, {**rule, "expr": expr}
    if "alert" in rule:
        yield from for_clauses(rule)
        for label, value in rule["labels"].items():
            yield (
                f"label {label}={value} is changed",
                {**rule, "labels": {**rule["labels"], label: f"not-{value}"}},
            )
            remaining = {key: old for key, old in rule["labels"].items() if key != label}
            yield f"label {label} is removed", {**rule, "labels": remaining}


def for_clauses(rule: Json) -> Iterator[tuple[str, Json]]:
    if "keep_firing_for" in rule:
        kept = seconds(rule["keep_firing_for"])
        for other in (0, kept - 60, kept + 60):
            what = f"keep_firing_for: {rule['keep_firing_for']} -> {other:.0f}s"
            yield what, {**rule, "keep_firing_for": f"{other:.0f}s"}
    if "for" not in rule:
        yield "for: 1m", {**rule, "for": "1m"}
        return
    duration = seconds(rule["for"])
    little = max(60, duration / 5)
    for other in (0, duration - little, duration + little, 2 * duration):
        yield f"for: {rule['for']} -> {other:.0f}s", {**rule, "for": f"{other:.0f}s"}


def expressions(expr: str) -> Iterator[tuple[str, str]]:
    """Yield a description of each change of an expression, and the changed expression."""
    plain = NO_NUMBERS.sub(lambda found: "_" * len(found[0]), expr)
    for found in NUMBER.finditer(plain):
        value = float(found[0])
        for other in (value * 0.9, value * 1.1) if value else (1.0, -1.0):
            yield replaced(expr, found.start(), found.end(), f"{other:.12g}")
    for found in COMPARISON.finditer(blank_braces(plain)):
        for operator in OTHER_COMPARISONS[found[0]]:
            yield replaced(expr, found.start(), found.end(), operator)
    for found in MATCHER.finditer(expr):
        if inside_braces(expr, found.start()):
            yield replaced(expr, found.start(3), found.end(3), "other")
            yield replaced(expr, found.start(), found.end(), "")
    for found in GROUPING.finditer(expr):
        labels = found[1].split(", ")
        for label in labels:
            remaining = ", ".join(other for other in labels if other != label)
            yield replaced(expr, found.start(1), found.end(1), remaining)


def blank_braces(text: str) -> str:
    return re.sub(r"\{[^}]*\}", lambda found: "_" * len(found[0]), text)


def inside_braces(text: str, place: int) -> bool:
    return text.rfind("{", 0, place) > text.rfind("}", 0, place)


def replaced(text: str, start: int, end: int, new: str) -> tuple[str, str]:
    before = " ".join(text[max(0, start - 40) : start].split())
    return f"...{before}[{text[start:end]} -> {new}]", text[:start] + new + text[end:]


class Tests:
    """The promtool tests of the alerts; those that have failed lately run first, alone."""

    LATELY: Final = 4
    """How many of these are remembered for each alert."""

    def __init__(self, texts: dict[str, str]) -> None:
        self._documents: dict[str, Json] = {
            path: yaml.safe_load(text) for path, text in texts.items() if path.startswith("tests/")
        }
        self._rules: dict[str, Json] = {path: yaml.safe_load(texts[path]) for path in RULES}
        self._failed_lately: dict[str | None, deque[str]] = {}

    def detect(self, mutant: Mutant) -> bool:
        """Return whether the tests detect the change."""
        file, group, number = mutant.place
        changed = copy.deepcopy(self._rules)
        changed[file]["groups"][group]["rules"][number] = mutant.rule
        return self._fail(changed, mutant.rule.get("alert"))

    def fail_unchanged(self) -> list[str]:
        """Return the alerts whose tests fail although nothing is changed."""
        names = {rule.get("alert") for _, rule in rules_of(self._rules)}
        return sorted(name or "recording" for name in names if self._fail(self._rules, name))

    def _fail(self, rules: dict[str, Json], alert: str | None) -> bool:
        lately = self._failed_lately.setdefault(alert, deque(maxlen=self.LATELY))
        needed = needed_rules(rules["recording.yml"], rules["rules.yml"], alert)
        with tempfile.TemporaryDirectory() as folder:
            for path, document in zip(RULES, needed, strict=True):
                (Path(folder) / path).write_text(json.dumps(document))
            for only in ([*lately], None) if lately else (None,):
                failed, name = self._run(Path(folder), alert, only)
                if failed:
                    if name is not None and name not in lately:
                        lately.appendleft(name)
                    return True
        return False

    def _run(
        self, folder: Path, alert: str | None, only: list[str] | None
    ) -> tuple[bool, str | None]:
        """Run the tests of an alert, or only some; return whether, and which one, has failed."""
        (folder / "tests").mkdir(exist_ok=True)
        paths = [
            path for path in self._documents if path.startswith(f"tests/{alert or 'recording'}")
        ]
        for path in paths:
            document = self._documents[path]
            tests = [test for test in document["tests"] if only is None or test["name"] in only]
            # JSON is valid YAML.
            (folder / path).write_text(json.dumps({**document, "tests": tests}))
        result = subprocess.run(  # noqa: S603 - files of our own
            [os.environ.get("PROMTOOL", "promtool"), "test", "rules", *paths],
            cwd=folder,
            env={**os.environ, "TMPDIR": str(folder)},
            capture_output=True,
            text=True,
            check=False,
        )
        name = re.search(r"^ *name: (.*),$", result.stderr + result.stdout, re.MULTILINE)
        return result.returncode != 0, name[1] if name is not None else None


def main() -> int:
    words = sys.argv[1:]
    texts = files(Options())
    documents = {name: yaml.safe_load(texts[name]) for name in RULES}
    selected = [
        mutant
        for mutant in mutants(documents)
        if not words or any(word in mutant.name for word in words)
    ]
    survived, tests = 0, Tests(texts)
    if Path("/dev/shm").is_dir():  # noqa: S108 - promtool writes many temporary files
        tempfile.tempdir = "/dev/shm"  # noqa: S108 - as above
    if wrong := tests.fail_unchanged():
        print(f"the tests fail without a change: {', '.join(wrong)}")
        return 1
    with ThreadPoolExecutor(PARALLEL_RUNS) as pool:
        results = pool.map(tests.detect, selected)
        for mutant, dead in zip(selected, results, strict=True):
            why = EXPLAINED.get((mutant.name, mutant.what))
            verdict = "killed" if dead else "SURVIVED" if why is None else "explained"
            survived += verdict == "SURVIVED"
            print(f"{verdict:>9}  {mutant.name}: {mutant.what}", flush=True)
            if verdict == "explained":
                print(f"{'':>11}{why}")
    print(f"{len(selected)} changes, {survived} survived without an explanation")
    return 1 if survived or not selected else 0


if __name__ == "__main__":
    sys.exit(main())
