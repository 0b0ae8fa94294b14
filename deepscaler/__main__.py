"""`python -m deepscaler`, the same as the `deepscaler` command."""

import sys

from deepscaler.cli import main

sys.exit(main())
