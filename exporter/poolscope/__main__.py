"""`python -m poolscope`."""

from __future__ import annotations

import sys

from poolscope.cli import main

if __name__ == "__main__":
    sys.exit(main())
