"""The metrics of all processes of the folder, served by one of them."""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path
from typing import Final

from poolscope.fleet.fleet import Fleet
from poolscope.metrics.exporter_families import Scrape
from poolscope.metrics.exposition import rendered_scrape
from poolscope.metrics.pool_families import FAMILIES, INTERNAL_ERRORS
from poolscope.metrics.registries import Registry, current
from poolscope.metrics.rendering import Rendered, Wanted, wanted
from poolscope.metrics.responses import Metrics, Request, Work
from poolscope.metrics.sharing import Shared

OF_FOLDER: Final = {
    family.name.removesuffix("_total") for family in FAMILIES if family is not INTERNAL_ERRORS
}
"""The names of the families that the folder has, of all processes."""


VERSION: Final[str] = sys.modules["poolscope"].__version__
"""Not by an import, as the package imports what stands higher."""


class FleetMetrics(Metrics):
    """
    The pools of all processes of the folder, and what else the registry of this process has.

    Raises FolderError if the folder cannot be used, or if another process reads it.
    """

    def __init__(self, folder: Path, registry: Registry) -> None:
        super().__init__(registry)
        self._registry = registry
        self._fleet = Fleet(folder)
        self._renderings: Shared[Rendered] = Shared()

    def work_for(self, request: Request) -> Work:
        """Return what is to be done for a GET or HEAD request; one thread at a time does it."""
        asked = wanted(request.accept, request.accept_encoding, request.query)
        limited = asked.names is not None
        return Work(self._renderings, asked, partial(self._rendered, asked), limited)

    def _rendered(self, asked: Wanted) -> Rendered:
        began = time.monotonic()
        view = self._fleet.scan()
        scrape = Scrape(view, time.monotonic() - began, VERSION)
        own = [each for each in current(self._registry).collect() if each.name not in OF_FOLDER]
        return rendered_scrape(scrape, asked, own)

    def close(self) -> None:
        """Leave the folder to another process."""
        self._fleet.close()
