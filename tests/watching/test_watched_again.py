"""A pool that is watched again keeps its options; if others are given, the log says so once."""

from __future__ import annotations

from typing import Any

import pytest

from poolscope.watching.watches import Watches
from support.logs import messages_of_poolscope


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, []),
        ({"leak_after": 5.0, "call_sites": False, "application_name": "shop"}, []),
        ({"leak_after": 9.0}, ["leak_after=9.0 (it is 5.0)"]),
        ({"leak_after": None}, ["leak_after=None (it is 5.0)"]),
        (
            {"leak_after": 9.0, "application_name": "other"},
            ["leak_after=9.0 (it is 5.0) and application_name='other' (it is 'shop')"],
        ),
    ],
)
def test_other_options_are_named_once(
    watches: Watches,
    sqlite: Any,
    caplog: pytest.LogCaptureFixture,
    options: dict[str, Any],
    said: list[str],
) -> None:
    engine = sqlite()
    first = watches.watch(
        engine, "orders", leak_after=5.0, call_sites=False, application_name="shop", registry=None
    )
    for _ in range(2):
        assert first is watches.watch(engine, "orders", registry=None, **options)
    assert [
        f"pool 'orders' (sqlalchemy) is watched already, so {each} has no effect; unwatch it "
        "first, or give the options where it is first watched"
        for each in said
    ] == messages_of_poolscope(caplog)


def test_call_sites_too(watches: Watches, sqlite: Any, caplog: pytest.LogCaptureFixture) -> None:
    engine = sqlite()
    watches.watch(engine, registry=None)
    watches.watch(engine, registry=None, call_sites=False)
    (line,) = messages_of_poolscope(caplog)
    assert "so call_sites=False (it is True) has no effect; " in line
