"""One process at a time: a folder that two learners wrote into would hold the weights of neither."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import TextIO

from accord.config import SettingsError


def alone(folder: Path) -> TextIO | None:
    """Claim a folder for this process as long as the returned file lives; the system lets go of it after any death.

    Raises SettingsError when another process has it. None where the disk knows no locks (some network file systems).
    """
    file = (folder / "lock").open("a+", encoding="utf-8")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        if not isinstance(error, BlockingIOError | PermissionError):
            return None
        raise SettingsError(
            f"process {holder} is at work in {folder}; wait for it, stop it, or use another --project"
        ) from error
    file.seek(0)
    file.truncate()
    file.write(str(os.getpid()))
    file.flush()
    return file
