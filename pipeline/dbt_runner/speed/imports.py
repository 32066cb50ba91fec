"""What the import of dbt compiles although it never differs, or although nobody calls it."""

from __future__ import annotations

import builtins
import dataclasses
from types import CodeType
from typing import Any

from pipeline.dbt_runner.speed.patch import patch

# Texts of code with their code.
CODES: dict[str, CodeType] = {}


def keep_codes() -> None:
    """Relies on dataclasses calling `exec` with the text of methods, which is that of the fields.

    Python compiles the texts of two thousand methods of dataclasses during the import of dbt.
    """

    def exec_once(text: Any, *places: Any) -> None:
        if isinstance(text, str):
            if text not in CODES:
                CODES[text] = compile(text, "<string>", "exec", dont_inherit=True)
            text = CODES[text]
        builtins.exec(text, *places)

    vars(dataclasses)["exec"] = exec_once


def make_methods_when_called() -> None:
    """Relies on the two functions with which mashumaro gives a class its methods.

    Until they are called mashumaro has two thousand others that make them, or, for its own classes,
    the methods: to compile these takes a third of dbt's import.
    """
    patch("mashumaro.mixins.dict", "compile_mixin_packer", _packer_when_called)
    patch("mashumaro.mixins.dict", "compile_mixin_unpacker", _unpacker_when_called)


def _packer_when_called(_: Any) -> Any:
    from mashumaro.core.meta.code.builder import CodeBuilder

    name_of, add = CodeBuilder.get_pack_method_name, CodeBuilder.add_pack_method

    def compile_packer(cls: Any, format_name: str = "dict", **given: Any) -> None:
        name = name_of((), format_name, given.get("encoder"))

        def first_call(self: Any, *arguments: Any, **options: Any) -> Any:
            add(CodeBuilder(type(self), **_later(name, format_name, given)))
            return getattr(self, name)(*arguments, **options)

        setattr(cls, name, first_call)
        setattr(cls, name.public, first_call)

    return compile_packer


def _unpacker_when_called(_: Any) -> Any:
    from mashumaro.core.meta.code.builder import CodeBuilder

    name_of, add = CodeBuilder.get_unpack_method_name, CodeBuilder.add_unpack_method

    def compile_unpacker(cls: Any, format_name: str = "dict", **given: Any) -> None:
        name = name_of((), format_name, given.get("decoder"))

        def first_call(own: Any, *arguments: Any, **options: Any) -> Any:
            add(CodeBuilder(own, **_later(name, format_name, given)))
            return getattr(own, name)(*arguments, **options)

        setattr(cls, name, classmethod(first_call))
        setattr(cls, name.public, classmethod(first_call))

    return compile_unpacker


def _later(name: str, format_name: str, given: dict[str, Any]) -> dict[str, Any]:
    """How mashumaro's own methods of this kind make what replaces them."""
    given = {("default_dialect" if k == "dialect" else k): v for k, v in given.items()}
    later = {"first_method": name, "allow_postponed_evaluation": False}
    return {**later, "format_name": format_name, **given}
