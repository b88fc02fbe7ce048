"""`python -m getpatter` is the `getpatter` command."""

from __future__ import annotations

import sys

from getpatter.cli import main

if __name__ == "__main__":
    sys.exit(main())
