"""
Letting others run: a scrape is made by a thread beside those that the service lives by.

Python has a thread that computes go on for `sys.getswitchinterval()`, 5 ms, whoever waits for it;
an event loop that gets to run twice for one of its turns would be late by 10.
"""

from __future__ import annotations

import time
from typing import Final

PAUSE: Final = 0.00001
"""Seconds. It is just not nothing, so that somebody else is sure to get to run."""


def let_others_run() -> None:
    """Make a pause; to be called about every ms, while holding no lock."""
    time.sleep(PAUSE)
