"""The samples of a family, made from the reports of pools."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import chain, zip_longest
from typing import Any, Final, overload

from prometheus_client import Metric
from prometheus_client.samples import Exemplar as ShownExemplar
from prometheus_client.samples import Sample

from poolscope.callsites.traces import shown_id
from poolscope.errors import internal_errors
from poolscope.metrics.family import Family
from poolscope.metrics.pool_families import INTERNAL_ERRORS
from poolscope.process.pacing import Pacer
from poolscope.readings.exemplars import Exemplar, of_histogram
from poolscope.readings.reading import Histogram
from poolscope.readings.report import Report

IN_A_PIECE: Final = 100
"""Reports in one piece: freeing many more at once, or their text, takes milliseconds."""


def in_pieces(reports: Sequence[Report]) -> list[Sequence[Report]]:
    """Return the reports in pieces of at most `IN_A_PIECE`."""
    return [reports[start : start + IN_A_PIECE] for start in range(0, len(reports), IN_A_PIECE)]


class Samples(Sequence[Sample]):
    """
    The samples of a family, each of which is created only when it is iterated over.

    Creating the samples of a thousand pools at once would trigger a full garbage collection, which
    blocks the whole process.

    since: whether there are samples that say since when counters and histograms count. They belong
        to OpenMetrics; as text of version 0.0.4 each would become a family of its own.
    names: of the samples that there are; None: all.
    """

    def __init__(
        self,
        family: Family[Report],
        pieces: Sequence[Sequence[Report]],
        since: bool = False,
        names: Collection[str] | None = None,
    ) -> None:
        self._family = family
        self._pieces = pieces
        self._since = since
        self.names = names

    def __iter__(self) -> Iterator[Sample]:
        pacer = Pacer()
        for sample in self._each():
            pacer.yield_gil()
            if self.names is None or sample.name in self.names:
                yield sample

    def pieces(self, since: bool = False) -> Iterator[Metric]:
        """Yield the family once for each piece, with the samples of the pools in that piece."""
        for piece in self._pieces:
            yield collected(self._family, piece, since=since, names=self.names)

    def restricted(self, names: Collection[str]) -> Metric | None:
        """Return the family with the samples of these names; None if it can have none of them."""
        if all(sample.name not in names for sample in self._with_since()):
            return None
        return collected(self._family, *self._pieces, names=names)

    def _with_since(self) -> Iterator[Sample]:
        for piece in self.pieces(since=True):
            yield from piece.samples

    def _each(self) -> Iterator[Sample]:
        for report in chain.from_iterable(self._pieces):
            if self._family.stays or report.reading.live:
                since = report.since if self._since else 0.0
                for values, value in self._family.samples(report):
                    labels = report.pool, report.kind, *values
                    exemplars = of_histogram(report.exemplars, field_of(self._family))
                    yield from samples_of(self._family, labels, value, since, exemplars)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        return list(self)[index]


class _InternalErrors(Samples):
    """The samples of `INTERNAL_ERRORS`, which is not about pools."""

    def __init__(self, since: bool, names: Collection[str] | None) -> None:
        super().__init__(INTERNAL_ERRORS, (), since, names)

    def pieces(self, since: bool = False) -> Iterator[Metric]:
        yield collected(self._family, since=since, names=self.names)

    def _each(self) -> Iterator[Sample]:
        since = internal_errors.since if self._since else 0.0
        yield from samples_of(self._family, (), float(internal_errors.count), since)


class _Collected(Metric):
    """A metric whose samples are `Samples`."""

    # Called by the registry of prometheus_client (0.20 to 0.26) for `name[]`.
    def _restricted_metric(self, names: Collection[str]) -> Metric | None:
        samples: Any = self.samples
        restricted: Metric | None = samples.restricted(names)
        return restricted


def collected(
    family: Family[Report],
    *pieces: Sequence[Report],
    since: bool = False,
    names: Collection[str] | None = None,
) -> Metric:
    """
    Return the family as a metric with the samples of all pools; see `Samples` for `since` and
    `names`.
    """
    metric = _Collected(*_described(family))
    own = family is INTERNAL_ERRORS
    samples = _InternalErrors(since, names) if own else Samples(family, pieces, since, names)
    metric.samples = samples  # type: ignore[assignment]  # as good as a list
    return metric


def restricted(metric: Metric, names: Collection[str]) -> Metric | None:
    """Return the metric with the samples of these names; None if it has none of them."""
    if isinstance(metric.samples, Samples):
        return metric.samples.restricted(names)
    metric.samples = [sample for sample in metric.samples if sample.name in names]
    return metric if metric.samples else None


def is_selection(metric: Metric) -> bool:
    """Whether it has only the samples of some names, and is left out if it has none."""
    return isinstance(metric.samples, Samples) and metric.samples.names is not None


def metric_of(family: Family[Any]) -> Metric:
    """Return the family as a metric without samples."""
    return Metric(*_described(family))


def _described(family: Family[Any]) -> tuple[str, str, str]:
    return family.name.removesuffix("_total"), family.help, family.type


def samples_of(
    family: Family[Any],
    values: Sequence[str],
    value: float | Histogram,
    since: float = 0.0,
    exemplars: Sequence[Exemplar | None] = (),
) -> Iterator[Sample]:
    """
    Yield the sample of a number, or the samples of a histogram, with these label values.

    A histogram has none until something has happened: most histograms of most pools stay empty.

    since: the Unix time since when a counter or histogram counts; 0.0: it is not said.
    exemplars: of the buckets of a histogram; empty if it has none. Only OpenMetrics shows them.
    """
    labels = dict(zip(family.labels, values, strict=True))
    if isinstance(value, tuple):
        if not any(value[:-1]):
            return
        yield from _histogram(family, labels, value, exemplars)
    else:
        yield Sample(family.name, labels, value)
    if since and family.type != "gauge":
        # Beside the others of its labels, as OpenMetrics has it.
        yield Sample(f"{family.name.removesuffix('_total')}_created", labels, since)


def field_of(family: Family[Any]) -> str:
    """Return the field of a `Reading` that a histogram shows."""
    return family.name.removeprefix("connpool_")


def _histogram(
    family: Family[Report],
    labels: dict[str, str],
    value: Histogram,
    exemplars: Sequence[Exemplar | None],
) -> Iterator[Sample]:
    name, total = f"{family.name}_bucket", 0.0
    bounds = (*map(str, family.buckets), "+Inf")
    for bound, count, exemplar in zip_longest(bounds, value[:-1], exemplars):
        total += count
        # One whose value is not counted yet would be there before it.
        shown = _shown(exemplar) if exemplar is not None and count else None
        yield Sample(name, {**labels, "le": bound}, total, None, shown)
    yield Sample(f"{family.name}_count", labels, total)
    yield Sample(f"{family.name}_sum", labels, value[-1])


def _shown(exemplar: Exemplar) -> ShownExemplar:
    labels = {"trace_id": shown_id(exemplar.trace)}
    return ShownExemplar(labels, exemplar.seconds, exemplar.at)
