"""What dbt makes anew for each query and node although it never differs: made once, or faster.

Nothing but time changes. dbt without it, as on the command line, comes to the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any


def speed_up() -> None:
    """Let dbt do less in this process. To call it again changes nothing."""
    _keep_type_testers()
    _copy_macros()


def _keep_type_testers() -> None:
    """Relies on `build_type_tester`, of which dbt asks for each answer to a query.

    It makes parsers of dates with all their words, which is slow, and then parses no text.
    """
    from dbt_common.clients import agate_helper

    if hasattr(agate_helper.build_type_tester, "kept"):
        return
    kept = lru_cache(maxsize=500)(agate_helper.build_type_tester)

    def build_type_tester(
        text_columns: Iterable[str], string_null_values: Iterable[str] | None = ("null", "")
    ) -> Any:
        nulls = string_null_values if string_null_values is None else tuple(string_null_values)
        return kept(tuple(sorted(text_columns)), nulls)

    build_type_tester.kept = kept  # type: ignore[attr-defined]
    agate_helper.build_type_tester = build_type_tester


def _copy_macros() -> None:
    """Relies on the words of a node being those of its context, and all macros over them.

    dbt looks for each of a thousand macros in five places, for each node and most of its queries;
    from 1.12 on it finds only those that are called.
    """
    from dbt.context.configured import ConfiguredContext
    from dbt.context.macros import MacroNamespace
    from dbt.context.manifest import ManifestContext

    is_slow = hasattr(MacroNamespace, "_search_order")
    if not is_slow or hasattr(ManifestContext.to_dict, "dbts_own"):
        return
    dbts_own = ManifestContext.to_dict

    def to_dict(context: Any) -> Any:
        if type(context.namespace) is not MacroNamespace:
            return dbts_own(context)
        words = ConfiguredContext.to_dict(context)
        words.update(found_macros(context.namespace))
        return words

    to_dict.dbts_own = dbts_own  # type: ignore[attr-defined]
    ManifestContext.to_dict = to_dict


def found_macros(namespace: Any) -> dict[str, Any]:
    """What dbt finds by each name of a namespace."""
    found: dict[str, Any] = {}
    for place in reversed(list(namespace._search_order())):
        found.update(place)
    return found
