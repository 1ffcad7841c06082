"""`python -m accord` is `accord`."""

import sys

from accord.cli import main

sys.exit(main())
