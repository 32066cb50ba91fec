"""What `make watch` runs."""

import gc
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this project, whatever is installed

# To look for objects that are not used any more takes longer than a small batch.
gc.set_threshold(50_000)

from pipeline.watch import main

sys.exit(main(sys.argv[1:]))
