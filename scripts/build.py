"""What `make build` runs."""

import sys
import time
from pathlib import Path

STARTED = time.monotonic()  # before the imports, which are the slowest step of a small build
sys.path[0] = str(Path(__file__).resolve().parents[1])  # this project, whatever is installed

from pipeline.build import main

sys.exit(main(started=STARTED))
