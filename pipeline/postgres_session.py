"""What a build sets in its own sessions of PostgreSQL: what session_settings() sets in dbt's."""

from __future__ import annotations

import os
import re

from loader.dialects.standard import literal

# What a sort or a hash may take before it goes to disk; as in the macro.
WORK_MEM = "32MB"


def refuse_bad_memory(refusal: type[Exception]) -> None:
    """Raise `refusal` where POSTGRES_WORK_MEM is not as PostgreSQL writes memory."""
    given = _work_mem()
    # Without a unit it would be kilobytes.
    if not re.fullmatch("[1-9][0-9]*(kB|MB|GB)", given):
        raise refusal(
            f"POSTGRES_WORK_MEM is a number with kB, MB or GB, such as 32MB, not {given}."
        )


def session_settings(kind: str) -> tuple[str, ...]:
    """The statements for a session of a warehouse of this kind."""
    if kind != "postgres":
        return ()
    return "set jit = off", f"set work_mem = {literal(_work_mem())}"


def _work_mem() -> str:
    return os.environ.get("POSTGRES_WORK_MEM") or WORK_MEM
