"""
Measure what poolscope costs, beside alternatives that are measured in the same run.

    run.py [--quick] [--json FILE] [--plot FILE] [NAME ...]    default: all
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from benchmarks.runner import main

    sys.exit(main())
