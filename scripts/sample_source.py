"""`python -m sample_shop`, under its older name."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this project, whatever is installed

from sample_shop.cli import main

sys.exit(main())
