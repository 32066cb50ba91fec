"""The lines of dbt's log, made faster."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Any

from pipeline.dbt_runner.speed.patch import patch


def write_events() -> None:
    """Let dbt write its events without detours: two thousand in a small build."""
    patch("dbt_common.events.base_types", "ParseDict", _filled_at_once)
    patch("dbt_common.events.event_manager", "msg_from_base_event", _written_at_once)
    patch("dbt.events.logging", "env_scrubber", _secrets_of_the_invocation)
    patch(
        "dbt_common.behavior_flags", "BehaviorFlagRendered._default_source", _module_of_the_caller
    )


def _filled_at_once(dbts_own: Any) -> Any:
    """Relies on the constructor of a message taking the same values, or else raising an error.

    Protobuf looks for each field of each event in Python.
    """

    def parse_dict(fields: dict[str, Any], message: Any, **options: Any) -> Any:
        try:
            filled = type(message)(**_with_times(fields))
        except (AttributeError, KeyError, TypeError, ValueError):  # numbers as text, for example
            return dbts_own(fields, message, **options)
        message.CopyFrom(filled)
        return message

    return parse_dict


def _with_times(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of an event with the times of a node's result as times, where dbt has texts."""
    if not (result := fields.get("run_result")):
        return fields
    timing = [
        {name: datetime.fromisoformat(of) if of.endswith("Z") else of for name, of in step.items()}
        for step in result["timing_info"]
    ]
    return {**fields, "run_result": {**result, "timing_info": timing}}


def _written_at_once(_: Any) -> Any:
    """Relies on the fields of an event.

    dbt writes an event by way of a dictionary and a date as text.
    """
    from dbt_common.events import base_types

    invocation, extra = base_types.get_invocation_id, base_types.get_global_metadata_vars
    pid, thread = base_types.get_pid, base_types.get_thread_name

    def message_of(event: Any, level: Any = None) -> Any:
        message = getattr(event.PROTO_TYPES_MODULE, f"{type(event).__name__}Msg")()
        info = message.info
        info.level = (level or event.level_tag()).value
        info.msg = event.message()
        info.invocation_id = invocation()
        info.extra.update(extra())
        info.ts.GetCurrentTime()
        info.pid = pid()
        info.thread = thread()
        info.code = event.code()
        info.name = type(event).__name__
        message.data.CopyFrom(event.pb_msg)
        return message

    return message_of


def _secrets_of_the_invocation(_: Any) -> Any:
    """Relies on dbt's own list of the secrets of an invocation.

    dbt looks for secrets in all variables of the environment, for each line of its log.
    """
    from dbt_common.context import InvocationContext, try_get_invocation_context
    from dbt_common.exceptions import env_secrets, scrub_secrets

    secrets_of = vars(InvocationContext)["env_secrets"].fget

    def without_secrets(text: str) -> Any:
        # Where dbt hears of a failed node its thread has no context. An error there would hang.
        context = try_get_invocation_context()
        return scrub_secrets(text, secrets_of(context) if context else env_secrets())

    return without_secrets


def _module_of_the_caller(_: Any) -> Any:
    """Relies on a frame having the name of its module.

    dbt reads the source of all functions that are running, for each setting of an adapter.
    """

    def default_source() -> str:
        frame: Any = sys._getframe(1)
        while frame:
            name = frame.f_globals.get("__name__")
            if name in sys.modules and name != "dbt_common.behavior_flags":
                return str(name)
            frame = frame.f_back
        return "Unknown"

    return default_source
