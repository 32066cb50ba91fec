"""What a build sets in its own sessions of PostgreSQL: what session_settings() sets in dbt's."""

from __future__ import annotations

import os

from loader.dialects.standard import literal

# What a sort or a hash may take before it goes to disk; as in the macro.
WORK_MEM = "32MB"


def session_settings(kind: str) -> tuple[str, ...]:
    """The statements for a session of a warehouse of this kind."""
    if kind != "postgres":
        return ()
    work_mem = os.environ.get("POSTGRES_WORK_MEM") or WORK_MEM
    return "set jit = off", f"set work_mem = {literal(work_mem)}"
