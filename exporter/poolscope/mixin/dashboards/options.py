"""What a user may choose about the dashboards."""

from __future__ import annotations

from dataclasses import dataclass, field

from poolscope.mixin.labels import LabelScope, OptionError
from poolscope.mixin.thresholds import Thresholds


@dataclass(frozen=True, slots=True)
class Options(LabelScope):
    """
    datasource: the name of the data source that is chosen at first, "" for Grafana's default; any
        other can be chosen on the dashboard.
    folder: where Grafana shows them.

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
            raise OptionError("--tag: there must be one, by which dashboards find each other")

    @property
    def scope(self) -> tuple[str, ...]:
        """The labels that say whose pools they are, from general to special."""
        names = (self.cluster, self.service, self.instance)
        return tuple(name for name in names if name)
