"""``python -m gpukm`` is the command ``gpukm``."""

import sys

from gpukm.cli import main

sys.exit(main())
