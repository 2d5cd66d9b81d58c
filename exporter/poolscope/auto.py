"""
`import poolscope.auto` watches every pool that is made from now on; see `poolscope.autowatch`.

The environment variables POOLSCOPE_NAMES, POOLSCOPE_LEAK_AFTER, POOLSCOPE_CALL_SITES and
POOLSCOPE_APPLICATION_NAME say how.
"""

from __future__ import annotations

from poolscope.launching.autowatch import autowatch

autowatch()
