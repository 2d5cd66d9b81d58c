"""The options of the dashboards."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from poolscope.metrics.family import POOL_LABELS
from poolscope.mixin.labels import LabelScope, OptionError
from poolscope.mixin.thresholds import Thresholds

WEB_ADDRESS: Final = re.compile(r"https?://[^\s/]\S*")


@dataclass(frozen=True, slots=True)
class Options(LabelScope):
    """
    Where the dashboards are used, and what they link to.

    datasource: the name of the data source that is selected at first, "" for Grafana's default;
        any other can be selected on the dashboard.
    tags: the tags of the dashboards; they link to each other by the first one.
    folder: the folder in Grafana that shows them.
    path: where Grafana finds their files; "" for a usual place.
    docs: the URL of the folder of the documentation, whose `findings` has a page NAME.md for each
        rule; "" for no links.
    live_page: the URL of the exporter's live page; "" for no links.
    thresholds: the values from which panels are coloured.

    Raises OptionError.
    """

    datasource: str = ""
    tags: tuple[str, ...] = ("poolscope",)
    folder: str = "Connection pools"
    path: str = ""
    docs: str = ""
    live_page: str = ""
    thresholds: Thresholds = field(default_factory=Thresholds)

    def __post_init__(self) -> None:
        LabelScope.__post_init__(self)
        if not self.folder.strip() or not self.folder.isprintable():
            raise OptionError(f"--folder: {self.folder!r} is not a name")
        if not self.path.isprintable():
            raise OptionError(f"--path: {self.path!r} is not a path")
        for option, url in (("docs", self.docs), ("live-page", self.live_page)):
            if url and not WEB_ADDRESS.fullmatch(url):
                raise OptionError(f"--{option}: {url!r} does not begin with http:// or https://")
        if not self.tags or not all(self.tags):
            raise OptionError("--tag: there must be at least one, by which dashboards link")

    @property
    def scope(self) -> tuple[str, ...]:
        """The labels that tell where a pool is, from general to specific."""
        names = (self.cluster, self.service, self.instance)
        return tuple(name for name in names if name)

    @property
    def owners(self) -> tuple[str, ...]:
        """The labels of the service that a pool is in: pools of two services are never added."""
        return tuple(name for name in (self.cluster, self.service) if name)

    @property
    def by_pool(self) -> str:
        """The labels by which pools are told apart, as the alerts do."""
        return ", ".join((*self.owners, *POOL_LABELS))

    @property
    def target(self) -> str:
        """The labels of a scraped target."""
        return ", ".join((*self.owners, "job", *((self.instance,) if self.instance else ())))

    @property
    def owner_columns(self) -> dict[str, str]:
        """The titles of the columns that name the service of a pool, by label."""
        return {label: label.title() for label in self.owners}

    @property
    def short_legend(self) -> str:
        """The legend of a pool where there is little room: its service and its name."""
        return " ".join(f"{{{{{label}}}}}" for label in (self.service, "pool") if label)

    def legend(self, rest: str) -> str:
        """Return the legend of a series: its service, and the rest."""
        return " ".join((*(f"{{{{{label}}}}}" for label in self.owners), rest))
