"""The cells become the fields of a reading that have the same meaning."""

from __future__ import annotations

import pytest

from poolscope.ledger import cells as c
from poolscope.readings.reading import Reading

CELLS = {
    "opening": c.OPENING,
    "waiting": c.WAITING,
    "limit": c.LIMIT,
    "idle_limit": c.IDLE_LIMIT,
    "idle_floor": c.IDLE_FLOOR,
    "abandoned": c.ABANDONED,
    "in_use_peak": c.IN_USE_PEAK,
    "waiting_peak": c.WAITING_PEAK,
    "most_in_use": c.MOST_IN_USE,
    "timed_out": c.TIMEOUT,
    "cancelled": c.CANCELLED,
    "failed": c.ERROR,
    "waited": c.WAITED,
    "gave_up": c.GAVE_UP,
    "opened": c.OPENED,
    "open_failed": c.OPEN_FAILED,
    "closed": c.CLOSED,
    "invalidated_hard": c.INVALIDATED_HARD,
    "invalidated_soft": c.INVALIDATED_SOFT,
    "nested": c.NESTED,
    "leaks_overdue": c.WAS_OVERDUE,
    "leaks_abandoned": c.LEAKS_ABANDONED,
    "leaks_recovered": c.RECOVERED,
    "dns_hits": c.DNS_HIT,
    "dns_misses": c.DNS_MISS,
    "dns_errors": c.DNS_ERROR,
    "in_use_seconds": c.TAKEN_SECONDS,
    "waiting_seconds": c.WAITING_SECONDS,
    "saturated_seconds": c.SATURATED_SECONDS,
    "held_across": c.ACROSS_HOLDS,
    "held_across_seconds": c.ACROSS_SECONDS,
}
HISTOGRAMS = {
    "acquire_seconds": c.ACQUIRE_SECONDS,
    "queue_seconds": c.QUEUE_SECONDS,
    "open_seconds": c.OPEN_SECONDS,
    "hold_seconds": c.HOLD_SECONDS,
    "dns_seconds": c.DNS_SECONDS,
}


@pytest.mark.parametrize(("field", "cell"), CELLS.items(), ids=CELLS)
def test_a_cell_is_the_field_of_its_name(field: str, cell: int) -> None:
    cells = [0.0] * c.FIRST_SITE
    cells[cell] = 7.0
    reading = Reading.of(c.reading_values(0.0, cells, 0.0, [], [], []))
    assert 7.0 == reading._asdict()[field]


@pytest.mark.parametrize(("field", "histogram"), HISTOGRAMS.items(), ids=HISTOGRAMS)
def test_the_cells_of_a_histogram_are_the_field_of_its_name(
    field: str, histogram: c.HistogramCells
) -> None:
    cells = [0.0] * c.FIRST_SITE
    histogram.observe_count(cells, 0.0)
    reading = Reading.of(c.reading_values(0.0, cells, 0.0, [], [], []))
    size = histogram.sum - histogram.start
    assert (1.0, *[0.0] * size) == reading._asdict()[field]
