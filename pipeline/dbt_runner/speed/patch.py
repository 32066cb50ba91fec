"""The one way in which a function of dbt, or of what it uses, is replaced by a faster one."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from inspect import getattr_static
from typing import Any

# What this version of a package lacks, so that nothing was replaced: only time is lost.
SKIPPED: dict[str, str] = {}


def patch(module: str, name: str, make: Callable[[Any], Any]) -> None:
    """Replace `name`, such as "Class.method", of a module by what `make` returns for it.

    The replacement has the original as `.original`. Where the module, the name or what `make` looks
    up is missing, as in another version of dbt, the original stays. A second call changes nothing.
    """
    *path, last = name.split(".")
    try:
        owner: Any = import_module(module)
        for part in path:
            owner = getattr(owner, part)
        found = getattr_static(owner, last)
        original = getattr(found, "__func__", found)  # without classmethod or staticmethod
        if hasattr(original, "original"):
            return
        replacement = make(original)
    except (ImportError, AttributeError) as error:
        SKIPPED[f"{module}.{name}"] = f"{type(error).__name__}: {error}"
        return
    replacement.original = original
    is_bound = found is not original
    setattr(owner, last, type(found)(replacement) if is_bound else replacement)
