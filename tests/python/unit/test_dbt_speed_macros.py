"""Macros that are made when they are called are those that dbt would make for each context."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from dbt.adapters.factory import FACTORY
from dbt.clients.jinja import MacroGenerator
from dbt.context import base, exceptions_jinja, providers
from dbt.context.macros import MacroNamespace
from dbt.context.manifest import ManifestContext
from dbt.context.providers import BaseDatabaseWrapper, RuntimeDatabaseWrapper
from dbt.contracts.graph.manifest import Manifest
from dbt.contracts.graph.nodes import Macro
from dbt.node_types import NodeType
from dbt_common.clients.jinja import BaseMacroGenerator, template_cache
from dbt_common.exceptions import CompilationError

from pipeline.dbt_runner import speed_up
from pipeline.dbt_runner.speed.macros import MadeWhenRead, found_macros

CONFIG: Any = SimpleNamespace(
    project_name="shop",
    cli_vars={},
    credentials=SimpleNamespace(type="duckdb"),
    to_target_dict=dict,
    get_macro_search_order=lambda name: ["utils", "shop"] if name == "utils" else None,
    dependencies={},
    quoting={},
)


def macro(package: str, name: str, text: str) -> Macro:
    return Macro(
        name=name,
        resource_type=NodeType.Macro,
        package_name=package,
        path="",
        original_file_path="",
        unique_id=f"macro.{package}.{name}",
        macro_sql="{% macro " + name + "() %}" + text + "{% endmacro %}",
    )


def manifest(*more: Macro) -> Manifest:
    macros = [
        macro("shop", "both", "shop"),
        macro("shop", "own", "shop {{ both() }} {{ utils.both() }} {{ dbt.only() }}"),
        macro("utils", "both", "utils"),
        macro("utils", "default__of_utils", "default"),
        macro("utils", "default__of_both", "utils"),
        macro("shop", "default__of_both", "shop"),
        macro("dbt", "both", "dbt"),
        macro("dbt", "only", "dbt"),
        macro("dbt", "env_var", "over dbt's own word"),
        macro("dbt_duckdb", "only", "duckdb"),
        macro("dbt_duckdb", "duckdb__of_dbt", "of dbt"),
        *more,
    ]
    return Manifest(macros={macro.unique_id: macro for macro in macros})


@pytest.fixture(autouse=True)
def _duckdb() -> None:
    FACTORY.load_plugin("duckdb")
    speed_up()


def context(given: Manifest, package: str = "shop", *, own: bool = False) -> dict[str, Any]:
    """The words of a context, as made by dbt's own functions or by ours."""
    with pytest.MonkeyPatch.context() as patched:
        if own:
            for name in ("_build_namespace", "to_dict"):
                way = vars(ManifestContext)[name].original
                patched.setattr(ManifestContext, name, way)
        words: dict[str, Any] = ManifestContext(CONFIG, given, package).to_dict()
    assert isinstance(words, MadeWhenRead) is not own
    return words


def described(word: Any) -> Any:
    """What a macro or package of a context is, so that two contexts can be compared."""
    if isinstance(word, MacroGenerator):
        return id(word.macro), word.node, len(word.stack.call_stack), word()
    if isinstance(word, dict):
        return {name: described(part) for name, part in word.items()}
    return type(word)


@pytest.mark.parametrize("package", ["shop", "utils", "dbt"])
def test_a_context_has_the_same_macros(package: str) -> None:
    given = manifest()
    ours, dbts = context(given, package), context(given, package, own=True)
    names = ("both", "own", "only", "env_var", "of_utils", "shop", "utils", "dbt")
    assert [name in ours for name in names] == [name in dbts for name in names]
    assert {name: described(ours[name]) for name in dbts if name in names} == {
        name: described(dbts[name]) for name in dbts if name in names
    }
    assert set(ours) == set(dbts)
    assert ours["context"] is ours and ours["own"].context is ours
    assert ours["env_var"]() == "over dbt's own word"


def test_a_context_sees_the_macros_of_now() -> None:
    given = manifest()
    assert context(given)["own"]().split() == ["shop", "shop", "utils", "duckdb"]
    # A new text for a macro, as in `Dbt.replaced`, and another macro of the same name.
    given.macros["macro.utils.both"].macro_sql = macro("utils", "both", "new").macro_sql
    assert context(given)["own"]().split() == ["shop", "shop", "new", "duckdb"]
    given.macros["macro.shop.more"] = macro("shop", "more", "more")
    one_more = Manifest(macros=given.macros)
    assert context(one_more)["more"]() == "more"
    other = manifest(macro("shop", "only", "root"))
    assert context(other)["only"]() == "root"
    assert context(manifest())["only"]() == "duckdb"


def test_a_word_that_is_set_later_replaces_a_macro() -> None:
    words = context(manifest())
    words.update(both=lambda: "set")
    assert words["own"]().split() == ["shop", "set", "utils", "duckdb"]
    words["utils"]["both"] = lambda: "two"
    assert words["own"]().split() == ["shop", "set", "two", "duckdb"]


def test_a_macro_is_made_when_it_is_read() -> None:
    made: list[str] = []

    def make(part: str) -> str:
        made.append(part)
        return part * 2

    words = MadeWhenRead()
    words["a"], words["b"] = 1, 2
    words._make_later({"b": "x", "c": "y", "d": "z"}, make)
    assert "b" in words and "c" in words and "e" not in words and bool(words)
    assert words.get("e", 0) == 0 and made == []
    assert (words["a"], words["b"], words["b"], words.get("c")) == (1, "xx", "xx", "yy")
    assert made == ["x", "y"]
    with pytest.raises(KeyError, match="'e'"):
        words["e"]


@pytest.mark.parametrize(
    "act",
    [
        lambda words: sorted(words),
        lambda words: len(words),
        lambda words: sorted(words.items()),
        lambda words: sorted(words.values()),
        lambda words: sorted(words.keys()),
        lambda words: words == {"a": "1", "b": "22"},
        lambda words: words | {"c": 3},
        lambda words: {"c": 3} | words,
        lambda words: {**words},
        lambda words: dict(words),
        lambda words: dict({}, **words),
        lambda words: words.copy(),
        lambda words: words.pop("b"),
        lambda words: words.pop("c", None),
        lambda words: words.setdefault("b", 3),
        lambda words: words.setdefault("c", 3),
        lambda words: words.update(b=3),
        lambda words: words.clear(),
        lambda words: words.__delitem__("b"),
        lambda words: next(reversed(words)),
        lambda words: words.get("b"),
        lambda words: "b" in words,
        bool,
    ],
)
def test_it_is_a_dictionary(act: Callable[[Any], Any]) -> None:
    ours, plain = MadeWhenRead(), {"a": "1", "b": "22"}
    ours["a"] = "1"
    ours._make_later({"b": "2"}, lambda part: part * 2)
    assert act(ours) == act(plain)
    assert dict(ours) == plain
    assert ours == plain


def test_jinja_finds_macros_named_like_parts_of_it() -> None:
    assert not [name for name in vars(MadeWhenRead) if name not in dir(dict) and name[0] != "_"]


def test_the_same_macro_is_found() -> None:
    namespace = MacroNamespace(
        {"own": "root", "both": "root", "all": "root"},
        {"both": "local", "all": "local"},
        {"all": "dbt", "only": "dbt", "package": "dbt"},
        {"package": {"all": "package"}},
    )
    assert found_macros(namespace) == dict(namespace)
    assert not hasattr(ManifestContext.to_dict.original, "original")


def test_a_macro_is_defined_once_for_its_text_and_context() -> None:
    given = macro("shop", "told", "{{ word }}")
    words: dict[str, Any] = {"word": 1}
    generator = MacroGenerator(given, words)
    defined = generator.get_macro()
    assert generator.get_macro() is defined
    assert (generator(), BaseMacroGenerator.get_macro.original(generator)()) == ("1", "1")
    words["word"] = 2
    assert generator() == "2"
    generator.context = {"word": 3}
    assert generator() == "3"
    given.macro_sql = given.macro_sql.replace("word", "word + 1")
    assert generator() == "4"
    template_cache.clear()
    assert generator() == "4"


def test_the_same_macro_is_dispatched() -> None:
    adapter = SimpleNamespace(config=CONFIG, type=lambda: "duckdb", Relation=None)
    namespace = ManifestContext(CONFIG, manifest(), "shop").namespace
    wrapper = RuntimeDatabaseWrapper(adapter, namespace)
    for name, package in (
        ("of_utils", "utils"),
        ("of_both", None),
        ("of_both", "utils"),
        ("of_dbt", None),
    ):
        found = wrapper.dispatch(name, package)
        assert found is wrapper.dispatch(name, macro_namespace=package)
        assert found is BaseDatabaseWrapper.dispatch.original(wrapper, name, package)
    for way in (BaseDatabaseWrapper.dispatch, BaseDatabaseWrapper.dispatch.original):
        with pytest.raises(CompilationError, match="No macro named 'none'"):
            way(wrapper, "none", "utils")
        with pytest.raises(CompilationError, match="macro_namespace should be None or a string"):
            way(wrapper, "of_utils", ["utils"])


def test_errors_name_their_node() -> None:
    node = SimpleNamespace(name="n", resource_type="model", original_file_path="p")
    ours = providers.wrapped_exports(node)
    assert set(ours) == set(providers.wrapped_exports.original(node))
    assert set(ours) == set(exceptions_jinja.CONTEXT_EXPORTS)
    for way in (providers.wrapped_exports, providers.wrapped_exports.original):
        with pytest.raises(CompilationError) as raised:
            way(node)["raise_compiler_error"]("said")
        assert raised.value.node is node


def test_modules_are_the_same() -> None:
    ours, dbts = base.get_context_modules(), base.get_context_modules.original()
    assert {name: set(functions) for name, functions in ours.items()} == {
        name: set(functions) for name, functions in dbts.items()
    }
    assert ours["re"] == dbts["re"] and ours["datetime"] == dbts["datetime"]
    ours["re"].clear()  # nobody else's
    assert base.get_context_modules()["re"] == dbts["re"]
