"""Accord: people compare, models learn, and every lesson can be traced to who taught it."""

import os
from pathlib import Path

__version__ = "0.1.0"


def _products_alike() -> None:
    """Ask MKL for products that do not depend on where in memory their operands lie.

    On AMD's processors they do otherwise, in the last bits, so that a model that was saved and loaded would not score
    exactly as before. Read by MKL at its first product. On Intel's, torch's alignment is enough and the mode may cost.
    """
    cpu = Path("/proc/cpuinfo")
    if cpu.is_file() and "AuthenticAMD" in cpu.read_text(encoding="utf-8", errors="replace"):
        os.environ.setdefault("MKL_CBWR", "AUTO")


_products_alike()
