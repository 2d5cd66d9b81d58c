"""What a user may choose about the dashboards."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from poolscope.alerts.thresholds import Thresholds

NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
MATCHER: Final = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)(=|!=|=~|!~)"((?:[^"\\]|\\.)*)"')
PREFIX: Final = re.compile(r"[a-zA-Z0-9_-]{1,24}")


class OptionError(ValueError):
    """An option makes no sense; the message names it, and says what would be right."""


@dataclass(frozen=True, slots=True)
class Options:
    """
    datasource: the name of the data source that is chosen at first, "" for Grafana's default; any
        other can be chosen on the dashboard.
    matchers: further label matchers of every query, such as `env="prod"`.
    cluster, service, instance: how these labels are called; "" if there is none.
    uid_prefix: what the identities of the dashboards begin with.
    folder: where Grafana shows them.

    Raises OptionError.
    """

    datasource: str = ""
    matchers: tuple[str, ...] = ()
    cluster: str = "cluster"
    service: str = "service"
    instance: str = "instance"
    tags: tuple[str, ...] = ("poolscope",)
    uid_prefix: str = "poolscope"
    folder: str = "Connection pools"
    thresholds: Thresholds = field(default_factory=Thresholds)

    def __post_init__(self) -> None:
        for matcher in self.matchers:
            if not MATCHER.fullmatch(matcher):
                raise OptionError(f'{matcher!r} is no label matcher, such as env="prod"')
        for option in ("cluster", "service", "instance"):
            name = getattr(self, option)
            if name and not NAME.fullmatch(name):
                raise OptionError(f"--{option}-label: {name!r} is no name of a label")
        if not PREFIX.fullmatch(self.uid_prefix):
            raise OptionError(
                f"--uid-prefix: {self.uid_prefix!r} is not 1 to 24 letters, digits, _ or -"
            )
        if not self.folder.strip() or not self.folder.isprintable():
            raise OptionError(f"--folder: {self.folder!r} is not a name")
        if not self.tags or not all(self.tags):
            raise OptionError("--tag: there must be one, by which dashboards find each other")

    @property
    def scope(self) -> tuple[str, ...]:
        """The labels that say whose pools they are, from general to special."""
        names = (self.cluster, self.service, self.instance)
        return tuple(name for name in names if name)
