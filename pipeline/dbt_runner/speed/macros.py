"""The thousand macros that each query and node of dbt can call: made when they are called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import is_
from typing import Any

from pipeline.dbt_runner.speed.patch import patch

# What dbt finds for each package whose nodes look for macros: the macros, and where they are.
_LAYOUTS: dict[tuple[Any, ...], tuple[list[Any], Any]] = {}


class MadeWhenRead(dict[str, Any]):
    """A dictionary with further entries, each of which is made when somebody reads it.

    Its own names begin with an underscore: Jinja looks for macros among them first.
    """

    __slots__ = ("_later", "_make")
    _make: Callable[[Any], Any]

    def __init__(self) -> None:
        super().__init__()
        self._later: Mapping[str, Any] = {}

    def _make_later(self, later: Mapping[str, Any], make: Callable[[Any], Any]) -> MadeWhenRead:
        """Let `make` make entries of what `later` has by the same names, instead of those now."""
        for name in list(dict.keys(self)):
            if name in later:
                dict.__delitem__(self, name)
        self._later, self._make = later, make
        return self

    def _all_made(self) -> MadeWhenRead:
        for name in self._later:
            self[name]
        self._later = {}
        return self

    def __missing__(self, name: str) -> Any:
        part = self._later[name]
        made = self[name] = self._make(part)
        return made

    def __contains__(self, name: object) -> bool:
        return dict.__contains__(self, name) or name in self._later

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self else default  # noqa: SIM401  it would call itself

    def __bool__(self) -> bool:
        return bool(self._later) or dict.__len__(self) > 0


def _of_all(name: str) -> Any:
    own = getattr(dict, name)

    def method(self: MadeWhenRead, *given: Any) -> Any:
        return own(self._all_made(), *given)

    return method


# What reads all entries, or takes some away.
for _name in (
    *("__iter__", "__len__", "__reversed__", "__repr__", "__eq__", "__ne__", "__or__", "__ror__"),
    *("keys", "values", "items", "copy", "__delitem__", "pop", "popitem", "clear", "setdefault"),
):
    setattr(MadeWhenRead, _name, _of_all(_name))


def make_macros_when_called() -> None:
    """Let a context have its macros without an object for each of them."""
    patch("dbt.context.manifest", "ManifestContext._build_namespace", _made_when_called)
    patch("dbt.context.manifest", "ManifestContext.to_dict", _all_macros_at_once)
    patch("dbt_common.clients.jinja", "BaseMacroGenerator.get_macro", _found_once)
    patch("dbt.context.providers", "BaseDatabaseWrapper.dispatch", _dispatched_once)
    patch("dbt.context.providers", "wrapped_exports", _wrapped_when_called)
    patch("dbt.context.base", "get_context_modules", _modules_made_once)


def _made_when_called(dbts_own: Any) -> Any:
    """Relies on a macro of a context being its text, the context, its node and its stack of calls.

    dbt makes an object of these for each macro of all packages, for each node and most of its
    queries, which calls five of them. From 1.12 on it makes only those.
    """
    from dbt.clients.jinja import MacroGenerator
    from dbt.context.macros import MacroNamespace, MacroNamespaceBuilder

    MacroNamespace._search_order, MacroNamespaceBuilder.add_macro  # noqa: B018  1.12 has none

    def build_namespace(context: Any) -> Any:
        builder = context._get_namespace_builder()
        if type(builder) is not MacroNamespaceBuilder or context._ctx:
            return dbts_own(context)
        layout = _layout(builder, context.manifest.get_macros_by_package())
        words = context._ctx = MadeWhenRead()

        def make(laid_out: Any) -> Any:
            return MacroGenerator(laid_out.macro, words, builder.node, builder.thread_ctx)

        def made_later(macros: dict[str, Any]) -> MadeWhenRead:
            return MadeWhenRead()._make_later(macros, make)

        namespace = MacroNamespace(
            made_later(layout.global_namespace),
            made_later(layout.local_namespace),
            made_later(layout.global_project_namespace),
            {name: made_later(macros) for name, macros in layout.packages.items()},
        )
        namespace.layout, namespace.make = layout, make
        return namespace

    return build_namespace


def _layout(builder: Any, packages: dict[str, dict[str, Any]]) -> Any:
    """What dbt itself builds for the same macros and packages, without a context."""
    macros = [macro for package in packages.values() for macro in package.values()]
    names = builder.root_package, builder.search_package, *builder.internal_package_names_order
    known, layout = _LAYOUTS.get(names, ([], None))
    if layout is None or len(known) != len(macros) or not all(map(is_, known, macros)):
        layout = builder.build_namespace(packages, {})
        layout.found = found_macros(layout)
        layout.found_packages = [n for n, found in layout.found.items() if isinstance(found, dict)]
        _LAYOUTS[names] = macros, layout
    return layout


def _all_macros_at_once(dbts_own: Any) -> Any:
    """Relies on the words of a node being those of its context, and all macros over them.

    dbt looks for each of a thousand macros in five places, for each node and most of its queries.
    """
    from dbt.context.configured import ConfiguredContext

    words_of = ConfiguredContext.to_dict

    def to_dict(context: Any) -> Any:
        namespace = context.namespace
        layout = getattr(namespace, "layout", None)
        if layout is None:
            return dbts_own(context)
        words = words_of(context)._make_later(layout.found, namespace.make)
        words.update((name, namespace[name]) for name in layout.found_packages)
        return words

    return to_dict


def found_macros(namespace: Any) -> dict[str, Any]:
    """What dbt finds by each name of a namespace."""
    found: dict[str, Any] = {}
    for place in reversed(list(namespace._search_order())):
        found.update(place)
    return found


def _found_once(dbts_own: Any) -> Any:
    """Relies on the template of a macro being that macro and nothing else.

    For each call dbt runs the template that defines the macro. A unit test makes 500 calls, most of
    them for the values of its rows.
    """

    def get_macro(generator: Any) -> Any:
        template = generator.get_template()
        defined = vars(generator).get("_defined")
        if defined is None or defined[0] is not template or defined[1] is not generator.context:
            defined = generator._defined = template, generator.context, dbts_own(generator)
        return defined[2]

    return get_macro


def _dispatched_once(dbts_own: Any) -> Any:
    """Relies on the macros of a context being the same from the first call in it to the last."""

    def dispatch(
        wrapper: Any, macro_name: str, macro_namespace: Any = None, packages: Any = None
    ) -> Any:
        if packages is not None or not isinstance(macro_namespace, str | None):
            return dbts_own(wrapper, macro_name, macro_namespace, packages)
        found = vars(wrapper).setdefault("_dispatched", {})
        name = macro_name, macro_namespace
        if name not in found:
            found[name] = dbts_own(wrapper, macro_name, macro_namespace)
        return found[name]

    return dispatch


def _wrapped_when_called(_: Any) -> Any:
    """Relies on the functions that raise errors being the same for each node but for its name.

    dbt wraps all 21 of them for each context.
    """
    from dbt.context.exceptions_jinja import CONTEXT_EXPORTS, wrapper

    return lambda model: MadeWhenRead()._make_later(CONTEXT_EXPORTS, wrapper(model))


def _modules_made_once(dbts_own: Any) -> Any:
    """Relies on Python's modules having the same functions for each context."""
    modules = dbts_own()
    return lambda: {name: dict(functions) for name, functions in modules.items()}
