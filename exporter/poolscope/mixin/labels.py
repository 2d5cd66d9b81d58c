"""The labels that name clusters, services and instances, and the matchers that select pools."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

LABEL_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
LABEL_MATCHER: Final = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)(=|!=|=~|!~)"((?:[^"\\]|\\.)*)"')
UID_PREFIX: Final = re.compile(r"[a-zA-Z0-9_-]{1,24}")


class OptionError(ValueError):
    """An option is invalid; the message names it and says what would be valid."""


@dataclass(frozen=True, slots=True)
class LabelScope:
    """
    The pools that dashboards and alerts are about, and the names of the labels that tell them.

    matchers: label matchers that are added to every query, such as `env="prod"`.
    cluster, service, instance: the names of these labels; "" if there is no such label.
    uid_prefix: the prefix of the UIDs of the dashboards.

    Raises OptionError.
    """

    matchers: tuple[str, ...] = ()
    cluster: str = "cluster"
    service: str = "service"
    instance: str = "instance"
    uid_prefix: str = "poolscope"

    def __post_init__(self) -> None:
        for matcher in self.matchers:
            if not LABEL_MATCHER.fullmatch(matcher):
                raise OptionError(f'{matcher!r} is not a label matcher, such as env="prod"')
        for option in ("cluster", "service", "instance"):
            name = getattr(self, option)
            if name and not LABEL_NAME.fullmatch(name):
                raise OptionError(f"--{option}-label: {name!r} is not a label name")
        if not UID_PREFIX.fullmatch(self.uid_prefix):
            raise OptionError(
                f"--uid-prefix: {self.uid_prefix!r} is not 1 to 24 letters, digits, _ or -"
            )
