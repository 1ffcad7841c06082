"""`python -m accord` is `accord`; of several processes (`torchrun -m accord train ...`) the first one speaks."""

import os
import sys

from accord.cli import main

if __name__ == "__main__":
    if os.environ.get("RANK", "0") != "0":
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        from accord.run.leaving import leave

        leave(main)
    sys.exit(main())
