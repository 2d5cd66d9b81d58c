"""A scrape of the exporter, and prometheus_client for as many samples; processes of 20 pools."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.exporter_scrape import fork
from benchmarks.harness import Variant, cycles, interleave, repeated, work
from benchmarks.scrape import copied, samples
from poolscope.exporter.exposition import expose
from poolscope.fleet.fleet import Fleet
from poolscope.metrics.exporter_families import Scrape


def measure(processes: int, seconds: float) -> dict[str, Any]:
    """Return how many samples and bytes there are, and the timings of both."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "pools"
        fleet = Fleet(folder)
        children = [fork(folder) for _ in range(processes)]

        def scrape() -> bytes:
            return expose(Scrape(fleet.scan(), 0.0, "1.2.3"), "")[0]

        try:
            text = scrape()
            theirs = copied(text_string_to_metric_families(text.decode()))
            variants = [
                Variant("prometheus", repeated(generate_latest, theirs)),
                Variant("poolscope", cycles(scrape)),
            ]
            timings = interleave(variants, seconds, 1, warm_up=2, fewest_rounds=10)
        finally:
            for child in children:
                child.kill()
            fleet.close()
        return {"samples": samples(theirs), "bytes": len(text), "timings": timings}


if __name__ == "__main__":
    work(measure)
