"""What is advised, and when nothing is."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poolscope.sizing.advice import Server, advise, is_trusted
from poolscope.sizing.in_words import as_json, recommended, text
from poolscope.sizing.measured import Durations, Measured
from poolscope.sizing.sizes import Goal, smallest_size
from sizing.test_measured import BOUNDS, measured

GOAL = Goal()


@pytest.mark.parametrize(("processes", "size"), [(1, 11), (2, 7), (4, 5), (8, 4), (16, 3)])
def test_processes_do_not_share(processes: int, size: int) -> None:
    assert size == smallest_size(GOAL, 6.0 / processes, 0.05, 1.0)
    assert (processes, size) in advise(measured(), GOAL).split


@pytest.mark.parametrize(
    ("changes", "server", "verdict"),
    [
        ({}, Server(), "shrink"),
        ({"limit": 24.0}, Server(), "keep"),
        ({"limit": 16.0, "waits": Durations(BOUNDS, (0, 500, 500, 0), 50.0)}, Server(), "grow"),
        ({"limit": math.inf}, Server(), "set"),
        ({"limit": math.nan}, Server(), "set"),
        ({}, Server(accepts=20), "unreachable"),
        ({"acquired": 0.0, "attempts": 0.0, "in_use_seconds": 0.0}, Server(), "none"),
        ({"acquired": 99.0}, Server(), "none"),
        ({"waits": Durations(BOUNDS, (0, 0, 0, 9000), 9000.0)}, Server(), "untrusted"),
    ],
)
def test_the_verdict(changes: dict[str, object], server: Server, verdict: str) -> None:
    advice = advise(measured(**changes), GOAL, server)
    assert verdict == advice.verdict
    assert (verdict in ("none", "untrusted")) == (not recommended(advice))


def test_the_advice_meets_the_goal_if_the_server_can() -> None:
    for processes in (1.0, 3.0, 10.0):
        advice = advise(measured(instances=processes, limit=15 * processes), GOAL)
        smallest, comfortable = advice.candidates
        assert smallest.meets_goal
        assert comfortable.meets_goal
        assert smallest.size <= recommended(advice) <= comfortable.size


def test_the_server_limits_what_is_advised() -> None:
    advice = advise(measured(), GOAL, Server(accepts=35, others=10))
    assert (5, 5) == (advice.ceiling, recommended(advice))


def test_other_goals() -> None:
    rare = Goal(None, 0.001)
    assert smallest_size(rare, 6.0, 0.05, 1.0) > smallest_size(GOAL, 6.0, 0.05, 1.0)
    assert "at most 0.10% of the callers wait" == str(rare)


def test_nested_acquires_need_room() -> None:
    advice = advise(measured(nested=5.0, peak=40.0, waiting_peak=8.0), GOAL)
    assert 13 == advice.floor == advice.candidates[0].size
    assert "fewer than 13 may deadlock" in text(advice)


@pytest.mark.parametrize(
    ("predicted", "waits", "trusted"),
    [
        (0.0, (0.0, 0.0), True),
        (0.0009, (0.0, 0.0), True),
        (0.02, (0.01, 0.05), True),
        (0.02, (0.05, 0.1), True),
        (0.02, (0.1, 0.25), False),
        (0.2, (0.01, 0.05), False),
        (0.2, (0.0, 0.0), False),
        (math.inf, (30.0, 60.0), False),
        (math.inf, (30.0, math.inf), True),
    ],
)
def test_when_the_model_is_trusted(
    predicted: float, waits: tuple[float, float], trusted: bool
) -> None:
    assert trusted == is_trusted(predicted, waits)


SHRINK = """\
orders (sqlalchemy) of service=shop: 6 connections in each of 4 processes; now 15, 9 more than it
needs

                size  who waits   p99 wait   in use  connections
  smallest         5      2.0 %      10 ms   30.0 %  20
  comfortable      6      0.5 %       0 ms   25.0 %  24
  ceiling         17      0.0 %       0 ms    8.8 %  68

  create_engine(..., pool_size=6, max_overflow=0)

  Goal: 99 of 100 callers wait at most 20 ms. In 300 s there were 120.0 callers a second, each for
  50 ms: 6.0 connections on average. (Squared variation of the hold times: 1.0.)
  At the present size the model says 0 ms for 99 of 100 callers; 0 ms was measured.
  Processes do not share. The same load needs 1 x 11, 2 x 7, 4 x 5, 8 x 4, 16 x 3, 32 x 2
  connections.
  The formula (concurrent requests / queries per request) x 1.5 says 3. It knows neither the goal
  nor how long a connection is held."""


def test_the_text() -> None:
    advice = advise(measured(where={"service": "shop"}), GOAL, Server(97, 10))
    assert SHRINK == text(advice)


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (measured(acquired=0.0, attempts=0.0), "Nobody asked for a connection"),
        (measured(acquired=0.0), "Nobody got a connection"),
        (measured(acquired=7.0), "7 callers say too little; it takes 100."),
        (measured(gave_up=12.0), "12 callers got no connection: the load is at least this"),
        (measured(limit=math.inf), "The pool has no limit now"),
        (
            measured(loads=[(load, 0.03 + 0.005 * load) for load in (4, 6, 8, 9, 10, 12)]),
            "Holds took 50 ms at 4.0 in use and 90 ms at 12.0",
        ),
        (
            measured(waits=Durations(BOUNDS, (0, 0, 0, 9000), 9000.0)),
            "no size can be computed from it",
        ),
    ],
)
def test_what_qualifies_the_advice(found: Measured, sentence: str) -> None:
    assert sentence in text(advise(found, GOAL), 1000)
    assert any(sentence in reason for reason in as_json(advise(found, GOAL))["reasons"])


@settings(deadline=None)
@given(
    st.floats(0.0, 60.0),
    st.floats(0.001, 10.0),
    st.floats(0.0, 5.0),
    st.one_of(
        st.floats(0.0001, 10.0).map(Goal), st.floats(1e-6, 0.5).map(lambda share: Goal(None, share))
    ),
)
def test_no_smaller_size_meets_the_goal(
    load: float, hold: float, variation: float, goal: Goal
) -> None:
    size = smallest_size(goal, load, hold, variation)
    assert goal.is_met(size, load, hold, variation)
    smaller = range(1, size)
    assert [] == [each for each in smaller if goal.is_met(each, load, hold, variation)]
