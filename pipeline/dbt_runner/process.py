"""dbt in this process: single commands, the files that it holds open, and what it reads itself."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.dbt_runner.rows import DbtError
from pipeline.profile import Output


def run_dbt(*arguments: str) -> bool:
    """Run one dbt command, which prints its own messages; returns whether it succeeded."""
    from dbt.cli.main import dbtRunner

    return bool(dbtRunner().invoke([*arguments]).success)


@contextmanager
def opening(file: str) -> Iterator[None]:
    """Let dbt open this DuckDB file instead of the one that the profile names; "" changes nothing.

    With another path in the profile dbt would parse the whole project again.
    """
    if not file:
        yield
        return
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager

    def elsewhere(_: type, credentials: Any) -> Any:
        return replace(credentials, path=file)

    before = vars(DuckDBConnectionManager)["get_credentials"]
    DuckDBConnectionManager.get_credentials = classmethod(elsewhere)
    try:
        yield
    finally:
        DuckDBConnectionManager.get_credentials = before


def close_connections() -> None:
    """Close what dbt holds open in this process: a DuckDB file, which nobody else could open."""
    # Where the adapter was never imported, it holds nothing.
    if connections := sys.modules.get("dbt.adapters.duckdb.connections"):
        connections.DuckDBConnectionManager.close_all_connections()


def adapter(kind: str) -> Any:
    """dbt's adapter for a kind of warehouse, after a command has used it. MetricFlow needs it."""
    from dbt.adapters.factory import get_adapter_by_type

    return get_adapter_by_type(kind)


def read_output(project: Path, profiles: Path, name: str | None) -> Output:
    """The output `name` of the project's profile, or the default one. Raises DbtError."""
    from dbt.config.runtime import load_profile
    from dbt.flags import set_from_args
    from dbt_common.context import set_invocation_context
    from dbt_common.exceptions import DbtBaseException

    set_invocation_context(dict(os.environ))
    set_from_args(Namespace(profiles_dir=str(profiles), project_dir=str(project)), None)
    try:
        profile = load_profile(str(project), {})
        is_default = name in (None, profile.target_name)
        if not is_default:
            profile = load_profile(str(project), {}, target_override=name)
    except DbtBaseException as error:
        raise DbtError(" ".join(str(error).split())) from error
    credentials = profile.credentials
    return Output(
        name=profile.target_name,
        kind=credentials.type,
        schema=credentials.schema,
        database=credentials.database,
        is_default=is_default,
        settings=vars(credentials),
    )
