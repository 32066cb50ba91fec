"""dbt, while no other run writes into the warehouse: `python scripts/dbt_alone.py build`."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this project, whatever is installed

from pipeline.alone import main

sys.exit(main())
