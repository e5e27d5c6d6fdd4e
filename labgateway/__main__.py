"""``python -m labgateway`` is the command ``labgateway``."""

import sys

from labgateway.cli import main

sys.exit(main())
