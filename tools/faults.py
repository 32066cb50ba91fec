"""Makes faults in the SQL of models and macros: in each case one small change of the text.

The text has Jinja in it, so it is changed by its tokens: a parser of SQL reads only what dbt has
rendered, where unit tests can no longer put their own rows. What does not run counts as broken.
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

# The columns of each relation and their types.
Schema = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Fault:
    """One change of a model or macro. `line` is in `path`; `code` is the whole changed text."""

    node: str  # the model or macro, as dbt calls it
    path: str
    line: int
    kind: str
    before: str
    after: str
    code: str
    is_incremental: bool = False  # only an incremental run reaches it
    number: int = 1  # of those that look alike

    @property
    def name(self) -> str:
        """What identifies the fault when other lines of the file have moved."""
        again = f" ({self.number})" if self.number > 1 else ""
        return f"{self.path}: {self.kind}: {self.before} -> {self.after}{again}"


# By kind: what is looked for, and what takes its place.
REPLACEMENTS: Mapping[str, Sequence[tuple[str, str]]] = {
    "comparison": [
        (r" <= ", " < "),
        (r" < ", " <= "),
        (r" >= ", " > "),
        (r" > (?!')", " >= "),
        (r" <> ", " = "),
        (r" = (?=['\d-])", " <> "),
        (r"\bis not null\b", "is null"),
        (r"\bis null\b", "is not null"),
    ],
    "join": [
        (r"\bleft join\b", "inner join"),
        (r"\binner join\b", "left join"),
        (r"\bfull outer join\b", "left join"),
        (r"\bunion all\b", "union"),
        (r"\bunion\b(?! all)", "union all"),
    ],
    "default": [
        (r"\bcoalesce\(([\w.]+|\{\{ \w+ \}\}), [^()]+\)", r"\1"),
        (r"\bnullif\((.+), ''\)", r"\1"),
        (r"\belse [\w.]+\b", "else null"),
        (r"\belse 0\b", "else 1"),
    ],
    "aggregate": [
        (r"\bsum\(", "max("),
        (r"\bmin\(", "max("),
        (r"\bmax\(", "min("),
        (r"\bcount\(distinct ", "count("),
        (r"\bcount\(\*\)", "max(1)"),
        (r"\bgreatest\(", "least("),
        (r"\bleast\(", "greatest("),
        (r"\blag\(", "lead("),
        (r"\bselect distinct\b", "select"),
        (r"\babs\(", "("),
        (r"\bfloor\(", "ceil("),
    ],
    "sign": [(r" \+ ", " - "), (r" - ", " + "), (r"(?<!select) \* ", " + "), (r" //? ", " * ")],
    "rank": [
        (r"\brank\(\)", "dense_rank()"),
        (r"\brank\(\)", "row_number()"),
        (r"\brow_number\(\)", "rank()"),
        (r" desc\b", " asc"),
        (r" asc\b", " desc"),
        (r"(\border by [\w.]+)(?=\s*\)|, \w+\)|\n)", r"\1 desc"),
        (r", [\w.]+ (?:desc|asc)\b", ""),
        (r"\bpartition by [\w.]+, ([\w.]+)(?= |\n)", r"partition by \1"),
        (r"\bpartition by ([\w.]+), [\w.]+(?= |\n)", r"partition by \1"),
        (r"\bpartition by [\w.]+(?= |\n)", "partition by 1"),
    ],
    "filter": [
        (r"\bwhere [^\n]+", "where 1 = 1"),
        (r"(?<=where\n)( +)[^\n]+", r"\g<1>1 = 1"),
        (r"\n +and [^\n]+", ""),
        (r"\n +having count[^\n]+", ""),
    ],
    "logic": [
        (r" and ", " or "),
        (r" or ", " and "),
        (r"\bnot (?=coalesce|is_|\w+\.is_)", ""),
    ],
    "off by one": [(r"(?<![\w.'])(\d+)(?![\w.'])", "+1")],
    "literal": [(r"(?<=')([A-Z][\w ]*)\w(?=')", r"\1q")],
}

_HIDDEN = re.compile(
    r"--[^\n]*"
    r"|\{#.*?#\}"
    r"|\{%-?\s*(?!set\b).*?%\}"
    r"|\{\{-?\s*(?:ref|source|config|return|doc)\(.*?\}\}"
    r"|\b(?:numeric|varchar)\(\d+(?:, ?\d+)?\)",
    re.DOTALL,
)
_BRANCH = re.compile(r"\{%-?\s*if is_incremental\(\).*?\{%-?\s*endif\s*-?%\}", re.DOTALL)
_CTE = re.compile(
    r"(\w+) as \(\s*select\s+\*\s+from \{\{ (?:ref|source)\((?:'\w+', )?'(\w+)'\) \}\}"
)
_READ = re.compile(r"(?:ref|source)\((?:'\w+', )?'(\w+)'\)")
_RENAMED = re.compile(r"(?:join|from) (\w+) as (\w+)")
_ITEM = re.compile(
    r"^ +(?P<value>(?!end )(?:[\w.]+|cast\([\w.]+ as [^()]+\)|\{\{ clean_text\('\w+'\) \}\}))"
    r"(?: as (?P<name>\w+))?(?P<comma>,?)$",
    re.MULTILINE,
)


class Maker:
    """Makes the faults of one text. `schema` says which columns could be taken for others."""

    def __init__(
        self, node: str, path: str, text: str, schema: Schema, file: str, seed: int
    ) -> None:
        self._node, self._path, self._text, self._schema = node, path, text, schema
        self._first_line = file[: file.find(text)].count("\n") + 1
        self._random = random.Random(f"{seed}{node}")
        self._types = {name: kind for of in schema.values() for name, kind in of.items()}
        # The same length, without what is not calculated.
        self._shown = _HIDDEN.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), text)
        self._branches = [m.span() for m in _BRANCH.finditer(text)]
        self._is_incremental = "macros/incremental/" in path or "changed_since" in path

    def faults(self) -> Iterator[Fault]:
        """Every fault, in the order of the text by kind; each changed text once."""
        seen = {self._text}
        alike: Counter[str] = Counter()
        for fault in [*self._replaced(), *self._wrong_columns(), *self._swapped()]:
            if fault.code not in seen:
                seen.add(fault.code)
                alike[fault.name] += 1
                yield replace(fault, number=alike[fault.name])

    def _fault(self, kind: str, changes: Sequence[tuple[int, int, str]]) -> Fault:
        code = self._text
        for start, end, new in sorted(changes, reverse=True):
            code = code[:start] + new + code[end:]
        start = min(change[0] for change in changes)
        while self._text[start] in "\n ":
            start += 1
        line = self._text[:start].count("\n")
        lines = slice(line, line + len({self._text[:at].count("\n") for at, _, _ in changes}))
        before, after = self._text.split("\n"), code.split("\n")
        return Fault(
            node=self._node,
            path=self._path,
            line=self._first_line + line,
            kind=kind,
            before=_one_line(before[lines]),
            after=_one_line(after[lines]) if len(before) == len(after) else "nothing",
            code=code,
            is_incremental=self._is_incremental or any(a <= start < b for a, b in self._branches),
        )

    def _replaced(self) -> Iterator[Fault]:
        for kind, rules in REPLACEMENTS.items():
            for pattern, new in rules:
                for found in re.finditer(pattern, self._shown):
                    # The original text: what is hidden beside it must stay.
                    whole = self._text[found.start() : found.end()]
                    if new == "+1":
                        text = str(int(whole) + 1)
                    elif whole == found[0]:
                        text = found.expand(new)
                    elif "\\" not in new:
                        text = new
                    else:
                        continue
                    yield self._fault(kind, [(found.start(), found.end(), text)])

    def _relations(self) -> dict[str, set[str]]:
        """By alias, the columns that are known of it: those of its table, or those used here."""
        tables = dict(_CTE.findall(self._text))
        known: dict[str, set[str]] = defaultdict(set)
        for alias, column in re.findall(r"\b(\w+)\.(\w+)\b", self._shown):
            known[alias].add(column)
        for alias, table in [
            *tables.items(),
            *((b, tables.get(a, "")) for a, b in self._renamed()),
        ]:
            known[alias] |= set(self._schema.get(table, ()))
        return known

    def _renamed(self) -> list[tuple[str, str]]:
        return _RENAMED.findall(self._shown)

    def _wrong_columns(self) -> Iterator[Fault]:
        relations = self._relations()
        for found in re.finditer(r"\b([a-z]\w*)\.(\w+)\b(?!\()", self._shown):
            alias, column = found[1], found[2]
            if new := self._other(column, relations.get(alias, set())):
                yield self._fault("wrong column", [(found.start(2), found.end(2), new)])
        read = [self._schema[name] for name in _READ.findall(self._text) if name in self._schema]
        for found in re.finditer(r"(?<![\w.])([a-z_]\w*)\b(?![\w.(])", self._shown):
            if self._shown[: found.start()].endswith((" as ", "macro ", "set ")):
                continue
            columns = {name for of in read if found[1] in of for name in of}
            if new := self._other(found[1], columns):
                yield self._fault("wrong column", [(found.start(1), found.end(1), new)])

    def _other(self, column: str, columns: set[str]) -> str | None:
        kind = self._types.get(column)
        others = [c for c in sorted(columns) if c != column and kind and self._types.get(c) == kind]
        return self._random.choice(others) if others else None

    def _swapped(self) -> Iterator[Fault]:
        """Neighbours of one type in a list of columns."""
        last: re.Match[str] | None = None
        for found in _ITEM.finditer(self._shown):
            if last and self._are_neighbours(last, found):
                names = [self._name(item) for item in (last, found)]
                values = [self._text[slice(*item.span("value"))] for item in (found, last)]
                changes = [
                    (item.start("value"), item.end() - len(item["comma"]), f"{value} as {name}")
                    for item, name, value in zip((last, found), names, values, strict=True)
                ]
                if values[0] != values[1]:
                    yield self._fault("swapped columns", changes)
            last = found

    def _are_neighbours(self, one: re.Match[str], other: re.Match[str]) -> bool:
        names = self._name(one), self._name(other)
        kinds = [self._types.get(name) for name in names]
        between = self._text[one.end() : other.start()]
        before = self._shown[: one.start()]
        in_select = max(before.rfind("select"), 0) > max(
            before.rfind("group by"), before.rfind("from ")
        )
        return (
            bool(one["comma"])
            and in_select
            and between.strip() == ""
            and kinds[0] is not None
            and kinds[0] == kinds[1]
        )

    @staticmethod
    def _name(item: re.Match[str]) -> str:
        return item["name"] or str(item["value"]).rpartition(".")[2]


def _one_line(lines: Sequence[str]) -> str:
    return " ".join(" ".join(lines).split())


def null_faults(
    node: str, path: str, text: str, columns: Mapping[str, str], first_line: int = 1
) -> Iterator[Fault]:
    """For each column of a mart, the mart with null in all of its rows."""
    head, _, tail = text.rpartition("select * from final")
    line = first_line + head.count("\n")
    for name, kind in columns.items():
        after = f"select * replace (cast(null as {kind}) as {name}) from final"
        yield Fault(node, path, line, "null", name, "null", head + after + tail)
