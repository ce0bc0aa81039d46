"""`python -m npformer` is the command `npformer`."""

import sys

from .cli import main

sys.exit(main())
