"""
The tests of the alerts for `promtool test rules`, from the same rules and thresholds.

There is a file for each alert, a second one for an alert that can fire sooner, one for each burn
rate, and one for the recording rules. In each scenario, the alert is silent while all is well,
while a value is exactly at its threshold, and while a series is missing. A little beyond the
thresholds it is pending first, fires at the right time with all labels and annotations, and ends.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from poolscope.mixin.alerts.expressions import Expressions
from poolscope.mixin.alerts.model import Alert, Json
from poolscope.mixin.alerts.options import Options
from poolscope.mixin.alerts.promtool import (
    attempts,
    connections,
    hosts,
    pools,
    recording,
    servers,
)
from poolscope.mixin.alerts.promtool.scenario import (
    SILENT_STEPS,
    Scenario,
    ScenarioFactory,
    Series,
    duration,
)
from poolscope.mixin.alerts.promtool.templates import rendered
from poolscope.mixin.alerts.recording import RECORDING_GROUP
from poolscope.mixin.alerts.rules import ALERT_GROUPS, alerts

SCENARIO_MODULES: Final = (pools, attempts, connections, hosts, servers)


def documents(options: Options) -> dict[str, Json]:
    """Return the test files by their paths."""
    promql = Expressions(options)
    world = ScenarioFactory(promql)
    rules = {_key(rule): rule for rule in alerts(options)}
    tests: defaultdict[tuple[str, str, float], list[Json]] = defaultdict(list)
    for scenario in scenarios(world):
        step = world.step * scenario.step_factor
        rule = rules[scenario.alert, scenario.severity, *sorted(scenario.extra_labels.items())]
        tests[scenario.alert, scenario.part, step] += _Tests(scenario, rule, world, options).all()
    files = {
        f"tests/{alert}{part}{'-soon' * (step < world.step)}.yml": file(of_alert, step)
        for (alert, part, step), of_alert in tests.items()
    }
    recorded = recording.tests(world)
    return {**files, "tests/recording.yml": file(recorded, world.step)}


def scenarios(world: ScenarioFactory) -> list[Scenario]:
    return [each for module in SCENARIO_MODULES for each in module.scenarios(world)]


def file(tests: Sequence[Json], step: float) -> Json:
    """Return a file of tests; recording rules are evaluated before the alerts that use them."""
    return {
        "rule_files": ["../recording.yml", "../rules.yml"],
        "evaluation_interval": duration(step),
        "group_eval_order": [RECORDING_GROUP, *ALERT_GROUPS],
        "tests": list(tests),
    }


def _key(rule: Alert) -> tuple[object, ...]:
    return rule.name, rule.severity, *sorted(rule.labels.items())


class _Tests:
    """The tests of one scenario."""

    def __init__(
        self, scenario: Scenario, rule: Alert, world: ScenarioFactory, options: Options
    ) -> None:
        self._scenario = scenario
        self._rule = rule
        self._options = options
        self._step = world.step * scenario.step_factor
        self._true = scenario.steps_before + scenario.true_at
        lasts = world.steps(rule.for_duration, scenario.step_factor) if rule.for_duration else 0
        self._fires = self._true + lasts
        # Counters begin with a 0, so that they stop growing one step later.
        grows = any(series.shape == "grows" for series in scenario.series.values())
        self._true_last = self._fires + grows
        kept = rule.keep_firing_for
        self._kept = world.steps(kept, scenario.step_factor) if kept else 0
        self._resolves_after = scenario.resolves_after and scenario.resolves_after + self._kept

    def all(self) -> list[Json]:
        all_series = self._scenario.series
        tests = [self._firing()]
        if not all_series:
            return tests
        tests.append(self._silent("all is well", all_series.values(), bad=False))
        for title, variant in self._scenario.silent.items():
            tests.append(self._silent(title, self._scenario.changed(variant)))
        for name, series in all_series.items():
            if name not in self._scenario.optional:
                others = [other for other in all_series.values() if other is not series]
                tests.append(self._silent(f"without {series.selector}", others))
        return tests

    def _firing(self) -> Json:
        """Return the test that the alert becomes pending, fires, and ends."""
        scenario = self._scenario
        good_again = self._resolves_after + 1
        phases = self._phases((True, self._fires - scenario.steps_before + 1), (False, good_again))
        checks = []
        if self._true:
            checks.append(self._count(self._true - 1, "", 0))
        if self._fires > self._true:
            checks += [
                self._count(self._true, "pending", 1),
                self._count(self._fires - 1, "pending", 1),
                self._count(self._fires - 1, "firing", 0),
            ]
        if self._resolves_after:
            checks.append(self._count(self._fires + self._resolves_after, "", 0))
        if self._kept and scenario.ends_at_once:
            checks += [
                self._count(self._true_last + self._kept, "firing", 1),
                self._count(self._true_last + self._kept + 1, "", 0),
            ]
        return {
            **self._test("fires, and ends", scenario.series.values(), phases),
            "alert_rule_test": [
                {
                    "eval_time": self._at(self._fires),
                    "alertname": scenario.alert,
                    "exp_alerts": [self._expected()],
                }
            ],
            "promql_expr_test": checks,
        }

    def _expected(self) -> Json:
        """Return the alert with its labels and annotations when it fires."""
        document = self._rule.document(self._options)
        labels = {key: value for key, value in self._scenario.labels.items() if value}
        value, now = self._scenario.value, self._fires * self._step
        found = self._scenario.gauges, self._scenario.hosts
        return {
            "exp_labels": {**labels, **document["labels"]},
            "exp_annotations": {
                key: rendered(template, labels, value, now, *found)
                for key, template in document["annotations"].items()
            },
        }

    def _silent(self, title: str, series: Iterable[Series], *, bad: bool = True) -> Json:
        """Return the test that the alert neither fires nor is pending."""
        last = self._fires + SILENT_STEPS
        phases = self._phases((bad, last + 1 - self._scenario.steps_before))
        checks = [self._count(step, "", 0) for step in (self._fires, last)]
        return {**self._test(f"silent: {title}", series, phases), "promql_expr_test": checks}

    def _phases(self, *following: tuple[bool, int]) -> list[tuple[bool, int]]:
        before = self._scenario.steps_before
        return [(False, before), *following] if before else [*following]

    def _test(
        self, title: str, all_series: Iterable[Series], phases: Sequence[tuple[bool, int]]
    ) -> Json:
        names = [self._scenario.alert, self._scenario.severity, self._scenario.title, title]
        return {
            "name": ", ".join(filter(None, names)),
            "interval": duration(self._step),
            "input_series": [
                {"series": series.selector, "values": series.values(phases)}
                for series in all_series
            ],
        }

    def _count(self, step: int, state: str, count: int) -> Json:
        """Return the check of how many alerts of the rule are in a state, or in any state."""
        labels = {"alertname": self._rule.name, "severity": self._rule.severity}
        labels |= {**self._rule.labels, **({"alertstate": state} if state else {})}
        matchers = ",".join(f'{key}="{value}"' for key, value in labels.items())
        samples = [{"labels": "{}", "value": count}] if count else []
        return {
            "expr": f"count(ALERTS{{{matchers}}})",
            "eval_time": self._at(step),
            "exp_samples": samples,
        }

    def _at(self, step: int) -> str:
        return duration(step * self._step)
