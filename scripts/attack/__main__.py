"""
Run attacks on poolscope's own software, and print figures.

    python -m scripts.attack [PART ...]

Without a part, all are run. Exits with 1 if one of them does harm.
"""

from __future__ import annotations

import argparse
import sys
import time
from importlib import import_module

PARTS = ("passwords", "silent", "scrapers", "files")
"""Modules of this package. Each has `run()`, which returns what went wrong, a line each."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m scripts.attack")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    chosen = parser.parse_args().parts or PARTS
    if unknown := set(chosen) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    harm = []
    for part in chosen:
        print(f"== {part}", flush=True)
        began = time.monotonic()
        harm += [f"{part}: {line}" for line in import_module(f"scripts.attack.{part}").run()]
        print(f"   {time.monotonic() - began:.0f} s", flush=True)
    for line in harm:
        print(f"HARM {line}")
    return 1 if harm else 0


if __name__ == "__main__":
    sys.exit(main())
