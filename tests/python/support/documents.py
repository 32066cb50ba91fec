"""The documents as tests read them: blocks of code, and commands with the output shown."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^( *)```(\w*)$")
HEREDOC = re.compile(r"<<'(\w+)'$")


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    page: Path
    line: int
    language: str
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


@dataclass(frozen=True)
class Command:
    """A command of a document, without its comment, and the output that the document shows."""

    page: Path
    line: int
    text: str
    output: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def pages(project: Path) -> list[Path]:
    """All documents, those at the root first."""
    return [*sorted(project.glob("*.md")), *sorted((project / "docs").glob("*.md"))]


def blocks(page: Path) -> list[Block]:
    """The blocks of code of a page, without the indentation of a list around them."""
    found: list[Block] = []
    opened: tuple[int, str, str, list[str]] | None = None
    for number, line in enumerate(page.read_text("utf-8").splitlines(), start=1):
        fence = FENCE.match(line)
        if opened is None:
            if fence:
                opened = (number, fence[1], fence[2], [])
        elif fence and not fence[2]:
            found.append(Block(page, opened[0], opened[2], tuple(opened[3])))
            opened = None
        else:
            opened[3].append(line.removeprefix(opened[1]))
    assert opened is None, f"{page.name}:{opened[0]} is never closed"
    return found


def prose(page: Path) -> str:
    """The text of a page outside of its blocks."""
    kept, inside = [], False
    for line in page.read_text("utf-8").splitlines():
        if FENCE.match(line):
            inside = not inside
        elif not inside:
            kept.append(line)
    return "\n".join(kept)


def code(page: Path) -> list[str]:
    """What stands between backticks in the text of a page, on one line each."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose(page))]


def commands(page: Path) -> list[Command]:
    """The commands of `sh` and `console` blocks, with the output in the block or right after it."""
    found: list[Command] = []
    shown = blocks(page)
    for block, following in zip(shown, [*shown[1:], None], strict=False):
        if block.language == "console":
            found += _session(block)
        elif block.language == "sh":
            typed = _typed(block)
            adjacent = (
                following is not None
                and following.language == "text"
                and following.line == block.line + len(block.lines) + 3
            )
            if adjacent and following:
                last = typed[-1]
                typed[-1] = Command(page, last.line, last.text, following.lines)
            found += typed
    return found


def _session(block: Block) -> list[Command]:
    found: list[Command] = []
    for number, line in enumerate(block.lines, start=block.line + 1):
        if line.startswith("$ "):
            found.append(Command(block.page, number, line[2:]))
        else:
            assert found, f"{block} does not begin with a command"
            last = found[-1]
            found[-1] = Command(last.page, last.line, last.text, (*last.output, line))
    return found


def _typed(block: Block) -> list[Command]:
    found: list[Command] = []
    waiting: list[str] = []
    for number, line in enumerate(block.lines, start=block.line + 1):
        waiting.append(line)
        text = "\n".join(waiting)
        heredoc = HEREDOC.search(waiting[0])
        if heredoc:
            if line != heredoc[1]:
                continue
        else:
            try:
                shlex.split(text)
            except ValueError:  # a quotation that is open
                continue
            text = re.sub(r"\s+# .*$", "", text)
        found.append(Command(block.page, number - len(waiting) + 1, text))
        waiting = []
    assert not waiting, f"{block} ends within a command"
    return found
