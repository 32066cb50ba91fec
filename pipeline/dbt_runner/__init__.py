"""The one place that calls dbt's Python API. Everything else gets the plain rows defined here.

dbt takes more than a second to import, so each function imports what it needs when it is called.
"""

from pipeline.dbt_runner.manifest import nodes_of
from pipeline.dbt_runner.parsed import Parsed
from pipeline.dbt_runner.process import adapter, close_connections, opening, read_output, run_dbt
from pipeline.dbt_runner.rows import (
    Code,
    DbtError,
    Exposure,
    Found,
    Group,
    Mart,
    Node,
    Owner,
    Relation,
    Result,
    Run,
)
from pipeline.dbt_runner.runner import Dbt
from pipeline.dbt_runner.speed import speed_up

__all__ = [
    "Code",
    "Dbt",
    "DbtError",
    "Exposure",
    "Found",
    "Group",
    "Mart",
    "Node",
    "Owner",
    "Parsed",
    "Relation",
    "Result",
    "Run",
    "adapter",
    "close_connections",
    "nodes_of",
    "opening",
    "read_output",
    "run_dbt",
    "speed_up",
]
