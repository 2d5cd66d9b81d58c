"""The options of the alerts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from poolscope.mixin.labels import LabelScope, OptionError
from poolscope.mixin.thresholds import Thresholds, seconds

URLS: Final = ("runbooks", "grafana", "webhook")
DURATIONS: Final = ("look_back", "group_wait", "group_interval", "repeat_page", "repeat_ticket")


@dataclass(frozen=True, slots=True)
class Options(LabelScope):
    """
    runbooks: the URL of the folder that has a page NAME.md for each alert, beside a folder
        findings with a page for each finding; "" for no links to pages.
    grafana: the URL of Grafana.
    look_back: how long before the alert the time range of a link to a dashboard begins.
    webhook: the URL below which each receiver of Alertmanager has a path; "" to use PagerDuty and
        Slack.
    secrets: the folder of Alertmanager's secrets, one file for each.
    group_wait: how long Alertmanager waits before the first notice of a group.
    group_interval: how long it waits before it reports new alerts of the group.
    repeat_page, repeat_ticket: how often it repeats notices that are critical, and others.
    namespace: the namespace of the Prometheus operator's objects; "" to leave it out.
    thresholds: the values at which alerts fire.

    Raises OptionError.
    """

    runbooks: str = ""
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
        for option in URLS:
            url = getattr(self, option)
            if url and not url.startswith(("http://", "https://")):
                raise OptionError(f"--{option}: {url!r} is not a URL, such as https://...")
        for option in DURATIONS:
            try:
                seconds(getattr(self, option))
            except ValueError as error:
                raise OptionError(f"--{option.replace('_', '-')}: {error}") from None

    @property
    def scope(self) -> tuple[str, ...]:
        """The labels of a service, from general to specific."""
        return tuple(label for label in (self.cluster, self.service) if label)

    @property
    def target(self) -> tuple[str, ...]:
        """The labels of a scraped target."""
        return (*self.scope, "job", *((self.instance,) if self.instance else ()))
