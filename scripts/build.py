"""What `make build` runs."""

import gc
import sys
import time
from pathlib import Path

STARTED = time.monotonic()  # before the imports, which are the slowest step of a small build
sys.path[0] = str(Path(__file__).resolve().parents[1])  # this project, whatever is installed

# To look for objects that are not used any more takes longer than a small load.
gc.set_threshold(50_000)

from pipeline.build import main

status = main(started=STARTED)
gc.freeze()
sys.exit(status)
