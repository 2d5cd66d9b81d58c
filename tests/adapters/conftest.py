"""Fixtures of the tests of all adapters."""

from __future__ import annotations

import pytest

from poolscope.callsites import hands


@pytest.fixture
def few_frames_are_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The search for handed connections looks at the test and not at pytest, whose variables take ten
    times as many bytecodes as all else.
    """
    monkeypatch.setattr(hands, "MAX_FRAMES", 10)
