"""The samples that say since when counters count; prometheus_client's own text has none of ours."""

from __future__ import annotations

import re

_CREATED = re.compile(rb"^connpool_\w+_created({.*})? \S+\n", re.MULTILINE)


def without_created(text: bytes) -> bytes:
    """Return a text of metrics without those samples of our families."""
    return _CREATED.sub(b"", text)
