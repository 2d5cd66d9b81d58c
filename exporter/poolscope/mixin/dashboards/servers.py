"""Queries about PostgreSQL servers and PgBouncers, which several exporters may ask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from poolscope.mixin.dashboards.options import Options
from poolscope.mixin.dashboards.panels import RED, Json
from poolscope.mixin.queries import Queries, share

NO_ANSWER: Final[Json] = {
    "type": "value",
    "options": {"Infinity": {"text": "no answer", "color": RED, "index": 0}},
}


@dataclass(frozen=True)
class Servers:
    """
    Queries about servers: what two exporters say of the same server counts once, as in the alerts.

    Several services may share a server, so it is told apart by its cluster and name alone.
    """

    queries: Queries
    options: Options

    @property
    def cluster(self) -> tuple[str, ...]:
        return (self.options.cluster,) if self.options.cluster else ()

    @property
    def labels(self) -> str:
        """The labels of a server."""
        return self.by("server")

    def by(self, *labels: str) -> str:
        """Return labels, after that of the cluster."""
        return ", ".join((*self.cluster, *labels))

    def keys(self, **columns: str) -> dict[str, str]:
        """Return the titles of the columns of labels, after that of the cluster."""
        return {**{label: label.title() for label in self.cluster}, **columns}

    def sum(self, family: str, *matchers: str, by: str = "") -> str:
        return self.queries.once(family, *matchers, by=by, more=self.cluster)

    def total_sum(self, family: str, by: str) -> str:
        """Return the sum of the means of a gauge in the whole time range."""
        return self.queries.once(family, by=by, more=self.cluster, whole_range=True)

    def maximum(self, family: str, by: str = "") -> str:
        return self.queries.maximum(family, by=by)

    def answering(self, family: str) -> str:
        """Return the share of the servers that have answered some exporter."""
        return f"avg({self.maximum(family, by=self.labels)})"

    def or_no_answer(self, measure: str, family: str) -> str:
        """Return a measure that is infinite for servers that answer no exporter: `NO_ANSWER`."""
        return f"{measure} or ({self.maximum(family, by=self.labels)} == 0) + Inf"

    def or_empty(self, measure: str, family: str) -> str:
        """
        Return a measure that is empty for servers that answer no exporter.

        Grafana names the columns of a table only if more than one query has an answer.
        """
        return f"{measure} or ({self.maximum(family, by=self.labels)} == 0) * NaN"

    def accepted(self, by: str = "") -> str:
        """Return how many connections PostgreSQL servers accept from ordinary users."""
        reserved = self.sum("server_reserved", by=by)
        return f"({self.sum('server_limit', by=by)} - {reserved})"

    def used(self) -> str:
        """Return the share of what each PostgreSQL server accepts that is in use."""
        return share(self.sum("server_connections", by=self.labels), self.accepted(self.labels))

    def clients(self) -> str:
        """Return the share of the clients that each PgBouncer accepts that it has."""
        used, limit = (
            self.sum(f"pgbouncer_{family}", by=self.labels)
            for family in ("used_clients", "client_limit")
        )
        return share(used, limit)
