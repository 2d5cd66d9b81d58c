"""What the catalogue says of a sample: its labels, and whether it only grows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from poolscope.metrics.exporter_families import CATALOGUE

PARTS: Final = {"_bucket": ("le",), "_count": (), "_sum": ()}
"""Of a histogram: the samples that it consists of, and their further labels."""


@dataclass(frozen=True, slots=True)
class Sample:
    labels: frozenset[str]
    grows: bool


def _samples() -> dict[str, Sample]:
    found = {}
    for family in CATALOGUE:
        if family.type == "histogram":
            for part, labels in PARTS.items():
                found[family.name + part] = Sample(frozenset((*family.labels, *labels)), True)
        else:
            grows = family.type == "counter"
            found[family.name] = Sample(frozenset(family.labels), grows)
    return found


SAMPLES: Final = _samples()


def grows(name: str) -> bool:
    """Whether it is a counter, or a part of a histogram; by its name, if it is not ours."""
    if name in SAMPLES:
        return SAMPLES[name].grows
    return ":" not in name and name.endswith(("_total", *PARTS))
