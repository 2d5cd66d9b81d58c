"""A scrape of the exporter, beside prometheus_client for as many samples; 20 pools a process."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.exporter_scrape import fork
from benchmarks.harness import Variant, cycles, interleave, repeated, run_measurement
from benchmarks.scrape import copy_metrics, count_samples
from poolscope.fleet.fleet import Fleet
from poolscope.metrics.exporter_families import Scrape
from poolscope.metrics.exposition import expose


def measure(processes: int, seconds: float) -> dict[str, Any]:
    """Return the number of samples and of bytes, and the timings of both variants."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "pools"
        fleet = Fleet(folder)
        children = [fork(folder) for _ in range(processes)]

        def scrape() -> bytes:
            return expose(Scrape(fleet.scan(), 0.0, "1.2.3"), "")[0]

        try:
            text = scrape()
            copy = copy_metrics(text_string_to_metric_families(text.decode()))
            variants = [
                Variant("prometheus", repeated(generate_latest, copy)),
                Variant("poolscope", cycles(scrape)),
            ]
            timings = interleave(variants, seconds, 1, warm_up=2, fewest_rounds=10)
        finally:
            for child in children:
                child.kill()
            fleet.close()
        return {"samples": count_samples(copy), "bytes": len(text), "timings": timings}


if __name__ == "__main__":
    run_measurement(measure)
