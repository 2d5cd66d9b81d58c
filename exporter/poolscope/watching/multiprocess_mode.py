"""The multiprocess mode of prometheus_client, which has no metrics of pools."""

from __future__ import annotations

import itertools
import os
from typing import Final

from poolscope.errors import harmless_once, logger
from poolscope.fleet.folder import DIR_VARIABLE, Folder

VARIABLES: Final = ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir")
"""Environment variables that turn the mode on; the second is the older one."""


class MultiprocessMode:
    """Warns once of a service that is in this mode, and shares its pools with no exporter."""

    def __init__(self, folder: Folder | None) -> None:
        """`folder`: where pools are shared; None: where POOLSCOPE_DIR says."""
        self._folder = folder
        self._turns = itertools.count()

    @harmless_once
    def warn_once(self) -> None:
        """Log the warning, unless it is not needed, or was logged."""
        if self._folder is not None or os.environ.get(DIR_VARIABLE):
            return
        variable = next((name for name in VARIABLES if os.environ.get(name)), None)
        if variable is None or next(self._turns) > 0:
            return
        logger().warning(
            "%s is set, but the page of prometheus_client's multiprocess mode has no metrics of "
            "pools, and each process serves only its own; set %s and run poolscope exporter",
            variable,
            DIR_VARIABLE,
            extra={"poolscope": {"event": "multiprocess-mode"}},
        )
