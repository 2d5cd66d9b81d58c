"""The rules as PrometheusRule objects, for the Prometheus operator."""

from __future__ import annotations

from collections.abc import Sequence

from poolscope.mixin.alerts.model import Group, Json
from poolscope.mixin.alerts.options import Options


def document(name: str, groups: Sequence[Group], options: Options) -> Json:
    """Return a PrometheusRule object with groups of rules."""
    metadata: Json = {"name": name}
    if options.namespace:
        metadata["namespace"] = options.namespace
    metadata["labels"] = {"app.kubernetes.io/name": "poolscope", "role": "alert-rules"}
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": metadata,
        "spec": {"groups": [group.document(options) for group in groups]},
    }
