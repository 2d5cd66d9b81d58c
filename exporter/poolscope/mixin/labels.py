"""What dashboards and alerts share: whose pools they are about."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

LABEL_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
LABEL_MATCHER: Final = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)(=|!=|=~|!~)"((?:[^"\\]|\\.)*)"')
UID_PREFIX: Final = re.compile(r"[a-zA-Z0-9_-]{1,24}")


class OptionError(ValueError):
    """An option makes no sense; the message names it, and says what would be right."""


@dataclass(frozen=True, slots=True)
class LabelScope:
    """
    LabelScope pools it is about.

    matchers: further label matchers of every query, such as `env="prod"`.
    cluster, service, instance: how these labels are called; "" if there is none.
    uid_prefix: what the identities of the dashboards begin with.

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
                raise OptionError(f'{matcher!r} is no label matcher, such as env="prod"')
        for option in ("cluster", "service", "instance"):
            name = getattr(self, option)
            if name and not LABEL_NAME.fullmatch(name):
                raise OptionError(f"--{option}-label: {name!r} is no name of a label")
        if not UID_PREFIX.fullmatch(self.uid_prefix):
            raise OptionError(
                f"--uid-prefix: {self.uid_prefix!r} is not 1 to 24 letters, digits, _ or -"
            )
