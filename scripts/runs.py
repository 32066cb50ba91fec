"""What `make runs` and `make run` run."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this project, whatever is installed

from pipeline.runs import main

sys.exit(main(sys.argv[1:]))
