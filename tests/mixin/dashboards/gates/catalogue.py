"""The samples of the catalogue: their labels, and whether they are counters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from poolscope.metrics.exporter_families import CATALOGUE

PARTS: Final = {"_bucket": ("le",), "_count": (), "_sum": ()}
"""The samples that a histogram consists of, with their additional labels."""


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
    """Return whether a sample only grows; of samples outside the catalogue the name tells."""
    if name in SAMPLES:
        return SAMPLES[name].grows
    return ":" not in name and name.endswith(("_total", *PARTS))
