"""The options of the dashboards."""

from __future__ import annotations

from dataclasses import dataclass, field

from poolscope.mixin.labels import LabelScope, OptionError
from poolscope.mixin.thresholds import Thresholds


@dataclass(frozen=True, slots=True)
class Options(LabelScope):
    """
    datasource: the name of the data source that is selected at first, "" for Grafana's default;
        any other can be selected on the dashboard.
    tags: the tags of the dashboards; they link to each other by the first one.
    folder: the folder in Grafana that shows them.
    thresholds: the values from which panels are coloured.

    Raises OptionError.
    """

    datasource: str = ""
    tags: tuple[str, ...] = ("poolscope",)
    folder: str = "Connection pools"
    thresholds: Thresholds = field(default_factory=Thresholds)

    def __post_init__(self) -> None:
        LabelScope.__post_init__(self)
        if not self.folder.strip() or not self.folder.isprintable():
            raise OptionError(f"--folder: {self.folder!r} is not a name")
        if not self.tags or not all(self.tags):
            raise OptionError("--tag: there must be at least one, by which dashboards link")

    @property
    def scope(self) -> tuple[str, ...]:
        """The labels that tell where a pool is, from general to specific."""
        names = (self.cluster, self.service, self.instance)
        return tuple(name for name in names if name)
