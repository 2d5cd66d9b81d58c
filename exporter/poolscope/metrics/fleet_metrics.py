"""The metrics of all processes of the folder, served by one of them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from poolscope.fleet.fleet import Fleet, FleetView
from poolscope.fleet.folder_lock import InUseError
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

    Without the pools where somebody else serves them: the exporter, or another process like this.
    """

    def __init__(self, folder: Path, registry: Registry, is_turn: Callable[[], bool]) -> None:
        """`is_turn` tells whether this process serves the pools, of all that could."""
        super().__init__(registry)
        self._registry = registry
        self._folder = folder
        self._is_turn = is_turn
        self._fleet: Fleet | None = None
        self._renderings: Shared[Rendered] = Shared()

    def work_for(self, request: Request) -> Work:
        """Return what is to be done for a GET or HEAD request; one thread at a time does it."""
        asked = wanted(request.accept, request.accept_encoding, request.query)
        limited = asked.names is not None
        return Work(self._renderings, asked, partial(self._rendered, asked), limited)

    def _rendered(self, asked: Wanted) -> Rendered:
        began = time.monotonic()
        view = self._scan() if self._is_turn() else None
        seconds = time.monotonic() - began
        scrape = Scrape(view, seconds, VERSION) if view is not None else None
        own = [each for each in current(self._registry).collect() if each.name not in OF_FOLDER]
        return rendered_scrape(scrape, asked, own)

    def _scan(self) -> FleetView | None:
        """
        Read the folder; return None if an exporter reads it.

        The folder is locked for this moment only, so that the exporter can begin at any time.
        """
        try:
            if self._fleet is None:
                self._fleet = Fleet(self._folder)
            return self._fleet.scan()
        except InUseError:
            return None
        finally:
            if self._fleet is not None:
                self._fleet.close()
