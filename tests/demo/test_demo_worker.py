"""The options of a worker of the demo."""

from __future__ import annotations

import pytest

from poolscope.demo.worker import options_of

LISTEN = ("--listen", "127.0.0.1:0")


def test_sizes_and_rates_are_given_by_pool() -> None:
    options = options_of([*LISTEN, "--size", "orders=6", "--rate=billing=2.5", "--rate=orders=9"])
    assert [("orders", 6)] == options.size
    assert [("billing", 2.5), ("orders", 9.0)] == options.rate


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((*LISTEN, "--size", "orders"), "'orders' is not POOL=N, such as orders=6"),
        ((*LISTEN, "--size", "orders=0"), "'orders=0' is not POOL=N"),
        ((*LISTEN, "--size", "orders=-1"), "'orders=-1' is not POOL=N"),
        ((*LISTEN, "--size", "others=3"), "'others=3' is not POOL=N"),
        ((*LISTEN, "--rate", "orders=much"), "'orders=much' is not POOL=N, such as orders=20"),
        ((*LISTEN, "--rate", "orders=nan"), "'orders=nan' is not POOL=N"),
        ((*LISTEN, "--rate", "orders=0"), "'orders=0' is not POOL=N"),
        ((*LISTEN, "--rate", "others=3"), "'others=3' is not POOL=N"),
        (("--fd", "3", "--rate", "orders=3"), "--rate goes with --listen"),
    ],
)
def test_bad_options(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], complaint: str
) -> None:
    with pytest.raises(SystemExit):
        options_of(arguments)
    assert complaint in capsys.readouterr().err
