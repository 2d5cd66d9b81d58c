"""What a user may choose about the alerts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from poolscope.mixin.labels import LabelScope, OptionError
from poolscope.mixin.thresholds import Thresholds, seconds

ADDRESSES: Final = ("runbooks", "grafana", "webhook")
DURATIONS: Final = ("look_back", "group_wait", "group_interval", "repeat_page", "repeat_ticket")


@dataclass(frozen=True, slots=True)
class Options(LabelScope):
    """
    runbooks: the folder that has a page for each alert, NAME.md.
    grafana: where the dashboards are.
    look_back: how far a link to a dashboard goes back before the alert.
    webhook: where Alertmanager sends all notices, each receiver below it; "" for PagerDuty, Slack.
    secrets: the folder of Alertmanager's secrets, a file each.
    group_wait, group_interval: for how long Alertmanager waits for further alerts of a page.
    repeat_page, repeat_ticket: after which time Alertmanager says it again.
    namespace: of the objects for the Prometheus operator; "" leaves that to who applies them.

    Raises OptionError.
    """

    runbooks: str = "https://poolscope.example/runbooks"
    grafana: str = "http://localhost:3000"
    look_back: str = "1h"
    webhook: str = ""
    secrets: str = "/etc/alertmanager/secrets"
    group_wait: str = "10s"
    group_interval: str = "1m"
    repeat_page: str = "4h"
    repeat_ticket: str = "1d"
    namespace: str = ""
    thresholds: Thresholds = field(default_factory=Thresholds)

    def __post_init__(self) -> None:
        LabelScope.__post_init__(self)
        for option in ADDRESSES:
            address = getattr(self, option)
            if address and not address.startswith(("http://", "https://")):
                raise OptionError(f"--{option}: {address!r} is no address, such as https://...")
        for option in DURATIONS:
            try:
                seconds(getattr(self, option))
            except ValueError as error:
                raise OptionError(f"--{option.replace('_', '-')}: {error}") from None

    @property
    def scope(self) -> tuple[str, ...]:
        """The labels that say whose pools they are, from general to special."""
        return tuple(label for label in (self.cluster, self.service) if label)

    @property
    def target(self) -> tuple[str, ...]:
        """The labels of one thing that Prometheus scrapes."""
        return (*self.scope, "job", *((self.instance,) if self.instance else ()))
