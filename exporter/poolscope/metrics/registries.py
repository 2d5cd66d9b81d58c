"""The registries of prometheus_client: which one is the default, and what is registered there."""

from __future__ import annotations

from enum import Enum
from typing import Any, Final, Literal

import prometheus_client
from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector


class Default(Enum):
    """Stands for `prometheus_client.REGISTRY`, which tests and services may replace."""

    REGISTRY = "prometheus_client.REGISTRY"

    def __repr__(self) -> str:
        return self.value


DEFAULT: Final = Default.REGISTRY

Registry = CollectorRegistry | Literal[Default.REGISTRY]


def current(registry: Registry) -> CollectorRegistry:
    """Return the registry; the default one may be another one at the next call."""
    return prometheus_client.REGISTRY if isinstance(registry, Default) else registry


# Attributes of CollectorRegistry, checked with prometheus_client 0.20 to 0.26. A registry of
# another class may lack them.
def _collectors(registry: Any) -> dict[Collector, list[str]]:
    collectors: dict[Collector, list[str]] = getattr(registry, "_collector_to_names", {})
    return collectors


def _names(registry: Any) -> dict[str, Collector]:
    names: dict[str, Collector] = getattr(registry, "_names_to_collectors", {})
    return names


def is_registered(registry: CollectorRegistry, collector: Collector) -> bool:
    """Return whether the registry collects the collector, under all of its names."""
    names = _collectors(registry).get(collector)
    return names is not None and all(_names(registry).get(name) is collector for name in names)


def has_created() -> bool:
    """
    Return whether counters and histograms are to say since when they count.

    PROMETHEUS_DISABLE_CREATED_SERIES and `prometheus_client.disable_created_metrics` say no.
    """
    return bool(getattr(prometheus_client.metrics, "_use_created", True))


def register_again(registry: CollectorRegistry, collector: Collector) -> None:
    """
    Register a collector that the registry has lost, wholly or in part.

    Raises what `registry.register` raises, such as ValueError if another collector has its names.
    """
    with registry._lock:
        _collectors(registry).pop(collector, None)
        for name in [name for name, named in _names(registry).items() if named is collector]:
            del _names(registry)[name]
    registry.register(collector)
