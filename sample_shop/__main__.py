"""`python -m sample_shop`."""

import sys

from sample_shop.cli import main

sys.exit(main())
