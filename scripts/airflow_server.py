"""What `make airflow` runs."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this project, whatever is installed

from pipeline.airflow_server import main

sys.exit(main())
