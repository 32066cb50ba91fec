"""`python -m loader`, under the older name that cron jobs use."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this project, whatever is installed

from loader.cli import run

run()
