"""dbt's events: a node has about ninety, and where the log is off nobody hears them."""

from __future__ import annotations

from typing import Any

from dbt.tracking import track_behavior_change_warn
from dbt_common.events.base_types import BaseEvent
from dbt_common.events.event_manager import EventManager


def make_events_when_heard() -> None:
    """Let dbt make an event's message only for a log, for a callback or for one that may end a run.

    To call it again changes nothing.
    """
    if hasattr(EventManager.fire_event, "dbts_own"):
        return
    make, fire = BaseEvent.__init__, EventManager.fire_event

    def note(event: Any, *args: Any, **kwargs: Any) -> None:
        vars(event)["given"] = args, kwargs

    def message(event: Any) -> Any:
        if "made" not in vars(event):
            args, kwargs = vars(event)["given"]
            make(event, *args, **kwargs)
        return vars(event)["made"]

    def keep(event: Any, message: Any) -> None:
        vars(event)["made"] = message

    def fire_when_heard(
        manager: Any, e: Any, level: Any = None, node: Any = None, force: bool = False, **more: Any
    ) -> None:
        force = force or more.get("force_warn_or_error_handling", False)
        # dbt's own callback tells its makers of some events, which the project does not let it do.
        others = [own for own in manager.callbacks if own is not track_behavior_change_warn]
        if force or manager.require_warn_or_error_handling or manager.loggers or others:
            fire(manager, e, level, node, force)

    fire_when_heard.dbts_own = fire  # type: ignore[attr-defined]
    BaseEvent.__init__ = note
    BaseEvent.pb_msg = property(message, keep)
    EventManager.fire_event = fire_when_heard
