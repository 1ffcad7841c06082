"""How the other libraries of statistics are asked, and where the real votes lie."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PEER = Path(os.environ.get("ACCORD_PEERS_VOTES", ROOT / ".venv-peers-votes/bin/python"))
DATA = ROOT / "../shared/data"

needs_peers = [
    pytest.mark.peers,
    pytest.mark.skipif(not PEER.is_file(), reason=f"no peers here ({PEER} is missing): `make peers` makes and runs it"),
]


def told(folder: Path, **job: Any) -> dict[str, Any]:
    """What the others say: name -> (oracle, arguments)."""
    (folder / "job.json").write_text(
        json.dumps({name: [oracle, list(given)] for name, (oracle, *given) in job.items()})
    )
    command = [str(PEER), str(Path(__file__).with_name("votes_side.py")), str(folder)]
    alone = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, env=alone, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((folder / "told.json").read_text())
    print("beside", found["versions"])
    return dict(found)
