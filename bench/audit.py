"""`make audit`: known faults of what is installed, by pip-audit, and how much of it could be looked up at all.

Ends with 0 when nothing is known, 1 when something is, 2 when the database could not be asked about a single package:
that is no good news, only none.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Found:
    """What pip-audit has said."""

    looked_up: int = 0
    unknown: list[str] = field(default_factory=list)
    """Packages that its database does not know, or about which it could not be asked."""
    faults: list[str] = field(default_factory=list)
    """One line each: package, version, name of the fault, and the version that mends it."""

    @property
    def status(self) -> int:
        """What the shell is told."""
        return 1 if self.faults else 0 if self.looked_up else 2


def read(report: dict[str, Any]) -> Found:
    """A report of pip-audit (`--format json`) in short."""
    unknown, faults, looked_up = [], [], 0
    for one in report.get("dependencies", []):
        if "skip_reason" in one:
            unknown.append(str(one["name"]))
            continue
        looked_up += 1
        for fault in one.get("vulns", []):
            mended = ", ".join(fault.get("fix_versions", [])) or "no version yet"
            faults.append(f"{one['name']} {one['version']}: {fault['id']}, mended in {mended}")
    return Found(looked_up, unknown, faults)


def told(found: Found) -> list[str]:
    """The same in words."""
    lines = [
        f"{found.looked_up} packages looked up, {len(found.unknown)} could not be, {len(found.faults)} known faults"
    ]
    lines += found.faults
    if not found.looked_up:
        lines.append("the database of pip-audit (PyPI) was not reached: nothing is known of any package")
    return lines


def main() -> int:
    """Ask, tell, and say how it went."""
    run = [sys.executable, "-m", "pip_audit", "--local", "--skip-editable", "--progress-spinner", "off", "-f", "json"]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    try:
        found = read(json.loads(done.stdout))
    except ValueError:
        found = Found()
        print(done.stderr.strip()[-500:], file=sys.stderr)
    print("\n".join(told(found)))
    return found.status


if __name__ == "__main__":
    sys.exit(main())
