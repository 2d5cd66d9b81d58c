"""What `poolscope run` and the process beside its command say to each other."""

from __future__ import annotations

from typing import Final

STARTED: Final = "started"
"""The first line of its output; any other says why it could not start."""

ABANDONED: Final = b"abandoned"
"""Its input, if the command could not be executed; else that is closed when the command is."""
