"""What Redshift's SQL has that PostgreSQL's has not, and the other way round.

`refusals` names what a statement asks for and Redshift does not have. The list follows the vendor's
pages on unsupported PostgreSQL features, data types and functions, and the pages of the commands.
`to_postgres` rewrites what PostgreSQL does not know, so that it can run a statement for Redshift.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import sqlglot
from sqlfluff.dialects.dialect_redshift_keywords import redshift_reserved_keywords
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.scope import traverse_scope
from sqlglot.tokenizer_core import Token, TokenType


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


FUNCTIONS = _words(
    """
    array_agg array_append array_cat array_length array_position array_to_string bit_length
    bit_xor clock_timestamp convert_from convert_to corr covar_pop covar_samp
    current_catalog current_query currval daterange div encode every format gen_random_uuid
    generate_series generate_subscripts int4range int8range json_agg json_build_object
    json_object_agg jsonb_agg jsonb_build_object justify_days justify_hours justify_interval
    lastval make_date make_interval make_timestamp mode nextval num_nonnulls numrange
    overlay pg_advisory_lock pg_advisory_xact_lock pg_database_size pg_relation_size
    pg_size_pretty pg_sleep pg_total_relation_size pg_trigger_depth pg_try_advisory_lock
    quote_nullable regexp_match regexp_matches regexp_split_to_array regexp_split_to_table
    regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy
    regr_syy row_to_json setseed setval string_agg string_to_array string_to_table to_json
    to_jsonb to_tsquery to_tsvector transaction_timestamp tsrange txid_current unnest
    uuid_generate_v4 width_bucket xml_agg xmlagg xmlelement
    """
)
TYPES = _words(
    """
    ARRAY LIST STRUCT MAP NESTED OBJECT ENUM JSON JSONB XML UUID INET BIT MONEY SMALLMONEY SERIAL
    BIGSERIAL SMALLSERIAL INT4RANGE INT8RANGE NUMRANGE TSRANGE TSTZRANGE DATERANGE INT4MULTIRANGE
    INT8MULTIRANGE NUMMULTIRANGE TSMULTIRANGE DATEMULTIRANGE HSTORE POINT POLYGON LINESTRING TINYINT
    UINT UBIGINT BLOB
    """
)
TYPE_NAMES = _words("bytea cidr macaddr tsvector tsquery box lseg path circle txid_snapshot citext")
# PostgreSQL's own columns, which Redshift neither has nor allows as names.
SYSTEM_COLUMNS = _words("ctid xmin xmax cmin cmax tableoid")
CREATED = _words("INDEX SEQUENCE TRIGGER EXTENSION DOMAIN RULE TYPE")
RESERVED = frozenset(
    word.strip().lower() for word in redshift_reserved_keywords.split("\n") if word.strip()
)
# Of window functions, those that need no frame beside an `order by`.
RANKS = (
    *(exp.RowNumber, exp.Rank, exp.DenseRank, exp.PercentRank, exp.CumeDist, exp.Ntile),
    *(exp.Lag, exp.Lead),
)


def statements(sql: str) -> list[str]:
    """The statements of a text, without what ends them."""
    parts: list[str] = []
    begin = 0
    for token in sqlglot.tokenize(sql, read="redshift"):
        if token.token_type == TokenType.SEMICOLON:
            parts.append(sql[begin : token.start])
            begin = token.end + 1
    parts.append(sql[begin:])
    return [part.strip() for part in parts if part.strip()]


def refusals(sql: str) -> list[str]:
    """What a text asks for that Redshift has not, each once; empty when Redshift should take it."""
    found: dict[str, None] = {}
    sql = re.sub(r"\$\d+", "null", sql)  # parameters, as the driver writes them
    try:
        tokens = sqlglot.tokenize(sql, read="redshift")
        found |= dict.fromkeys(_in_tokens(tokens))
        for tree in sqlglot.parse(sql, read="redshift"):
            if tree is not None:
                found |= dict.fromkeys(_in_tree(tree))
    except SqlglotError as error:
        found[f"such syntax: {str(error).splitlines()[0]}"] = None
    return list(found)


def _in_tokens(tokens: list[Token]) -> Iterator[str]:
    """What is told by words; a parser takes some of them for other functions of its own."""
    for token, after in zip(tokens, [*tokens[1:], None], strict=True):
        if token.token_type in (TokenType.STRING, TokenType.IDENTIFIER):
            continue
        word = token.text.lower()
        if word in FUNCTIONS and after is not None and after.token_type == TokenType.L_PAREN:
            yield f"{word}()"
        elif word in TYPE_NAMES and after is not None and after.text not in (".", "("):
            yield f"type {word}"
        elif word == "lateral":
            yield "lateral"
        elif word in ("unlogged", "tablespace", "inherits"):
            yield word
        elif word in ("->", "->>", "#>", "#>>", "@>", "<@"):
            yield f"operator {word}"


def _in_tree(tree: exp.Expr) -> Iterator[str]:
    for node in tree.walk():
        for kind, describe in NODES.items():
            if isinstance(node, kind) and (found := describe(node)):
                yield found
    if isinstance(tree, exp.Query | exp.Create | exp.Insert):
        for scope in traverse_scope(tree):
            outside = (column for column in scope.external_columns if column.table)
            if scope.is_subquery and any(outside):
                yield "correlated subquery"


def _type(node: exp.DataType) -> str:
    name = node.this.name if isinstance(node.this, exp.DType) else str(node.this)
    if name in TYPES:
        return f"type {name.lower()}"
    if isinstance(node.this, exp.Interval) or name == "INTERVAL":
        return "type interval"
    return ""


def _create(node: exp.Create) -> str:
    kind = str(node.kind or "").upper()
    if kind in CREATED:
        return f"create {kind.lower()}"
    if kind == "TABLE" and node.args.get("replace"):
        return "create or replace table"
    if node.args.get("exists") and (kind == "VIEW" or node.expression):
        return f"create {kind.lower()} if not exists ... as"
    if node.find(exp.PartitionedByProperty):
        return "partition by in a table"
    return ""


def _window(node: exp.Window) -> str:
    spec = node.args.get("spec")
    if spec is not None and str(spec.args.get("kind") or "").upper() not in ("", "ROWS"):
        return f"{spec.args['kind'].lower()} in a window's frame"
    function = node.this
    if isinstance(function, exp.IgnoreNulls | exp.RespectNulls):
        function = function.this
    if node.args.get("order") and spec is None and not isinstance(function, RANKS):
        return "aggregate over an ordered window without a frame"
    return ""


def _identifier(node: exp.Identifier) -> str:
    name = node.name.lower()
    if name in SYSTEM_COLUMNS:
        return f"system column {name}"
    after_a_dot = isinstance(node.parent, exp.Column) and node.parent.table
    if name in RESERVED and not (node.quoted or after_a_dot or isinstance(node.parent, exp.Func)):
        return f"reserved word {name} as a name"
    return ""


def _alter(node: exp.Alter) -> str:
    added = [a for a in node.args.get("actions", []) if isinstance(a, exp.ColumnDef)]
    return "several columns in one alter table" if len(added) > 1 else ""


def _always(text: str) -> Callable[[exp.Expr], str]:
    return lambda _: text


NODES: dict[type[exp.Expr], Callable[..., str]] = {
    exp.NullSafeEQ: _always("is [not] distinct from"),
    exp.NullSafeNEQ: _always("is [not] distinct from"),
    exp.Filter: _always("filter clause"),
    exp.Returning: _always("returning"),
    exp.OnConflict: _always("on conflict"),
    exp.TableSample: _always("tablesample"),
    exp.Lock: _always("select ... for update"),
    exp.Array: _always("array constructor"),
    exp.Bracket: _always("subscript"),
    exp.Collate: _always("collate"),
    exp.Values: lambda node: (
        "" if isinstance(node.parent, exp.Insert) else "values list as a table"
    ),
    exp.Distinct: lambda node: (
        "distinct on"
        if node.args.get("on")
        else "count(distinct) of several columns"
        if isinstance(node.parent, exp.Count) and len(node.expressions) > 1
        else ""
    ),
    exp.Except: lambda node: "except all" if node.args.get("distinct") is False else "",
    exp.Intersect: lambda node: "intersect all" if node.args.get("distinct") is False else "",
    exp.Insert: lambda node: "with before insert" if node.args.get("with_") else "",
    exp.DataType: _type,
    exp.Create: _create,
    exp.Window: _window,
    exp.Identifier: _identifier,
    exp.Alter: _alter,
}


def traps(sql: str) -> list[str]:
    """What Redshift takes, and means something else by than other warehouses do.

    A text without a length ends there at 256 bytes (a cast cuts it off without a word), a number
    without a precision has 18 digits and no fraction.
    """
    found: dict[str, None] = {}
    tokens = sqlglot.tokenize(sql, read="redshift")
    for before, token, after in zip(tokens, tokens[1:], [*tokens[2:], None], strict=False):
        kind = token.text.lower()
        if before.text.lower() not in ("as", "::") or (after and after.text == "("):
            continue
        if kind in ("text", "varchar", "char", "nvarchar", "bpchar"):
            found[f"{kind} without a length"] = None
        elif kind in ("numeric", "decimal"):
            found[f"{kind} without a precision"] = None
    return list(found)


# -- Redshift's SQL as PostgreSQL's ---------------------------------------------------------------

VERSION = (
    "PostgreSQL 8.0.2 on i686-pc-linux-gnu, compiled by GCC gcc (GCC) 3.4.2 20041017"
    " (Red Hat 3.4.2-6.fc3), Redshift 1.0.117891"
)
_COLUMNS = re.compile(r'\binformation_schema\.(?:"columns"|columns\b)', re.IGNORECASE)
# Literals, quoted names and comments, which no other rule may touch.
_KEPT = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|/\*.*?\*/", re.DOTALL)
_RULES = [
    (re.compile(pattern, re.IGNORECASE), text)
    for pattern, text in (
        (r"\bdiststyle\s+(?:key|all|even|auto)\b", " "),
        (r"\bdistkey\s*\(\s*[^()]*\)", " "),
        (r"\b(?:(?:compound|interleaved)\s+)?sortkey\s*(?:auto\b|\([^()]*\))", " "),
        (r"\bbackup\s+(?:yes|no)\b", " "),
        (r"\bencode\s+(?:az64|zstd|lzo|raw|auto|bytedict|delta|delta32k|runlength)\b", " "),
        (r"\bwith\s+no\s+schema\s+binding\b", " "),
        (r"\bvarchar\s*\(\s*max\s*\)", "varchar(65535)"),
        # A text without a length is one of 256 bytes.
        (r"(?<=\bas )(\s*)text\b", r"\1varchar(256)"),
        (r"(?<=::)(\s*)text\b", r"\1varchar(256)"),
        (r"\bsysdate\b(?!\s*\()", "sysdate()"),
        (r"\b(dateadd|datediff)\s*\(\s*(\w+)\s*,", r"\1('\2',"),
        # Roles are named as such; rights on all tables of a schema, also those that will be.
        (r"(\bto|\bfrom|,)\s+role\s+(?=\x00)", r"\1 "),
        (r"\bgrant\s+select\s+for\s+tables\b", "grant select on all tables"),
        (r"\bset\s+query_group\s+to\b", "set shim.query_group to"),
        (r"\breset\s+query_group\b", "reset shim.query_group"),
    )
]


def to_postgres(sql: str) -> str:
    """A statement for Redshift as one for PostgreSQL with the stubs of stubs.sql."""
    kept: list[str] = []

    def keep(match: re.Match[str]) -> str:
        kept.append(match.group())
        return f"\x00{len(kept) - 1}\x00"

    code = _KEPT.sub(keep, _COLUMNS.sub("pg_catalog.shim_columns", sql))
    for pattern, text in _RULES:
        code = pattern.sub(text, code)
    code = _listagg(code)
    return re.sub("\x00(\\d+)\x00", lambda match: kept[int(match.group(1))], code)


def _listagg(code: str) -> str:
    """`listagg(text, separator) within group (order by x)` as string_agg."""
    while match := re.search(r"\blistagg\s*\(", code, re.IGNORECASE):
        end = _closing(code, match.end())
        arguments, rest = code[match.end() : end], code[end + 1 :]
        within = re.match(r"\s*within\s+group\s*\(", rest, re.IGNORECASE)
        order = ""
        if within:
            stop = _closing(rest, within.end())
            order, rest = f" {rest[within.end() : stop]}", rest[stop + 1 :]
        if "," not in arguments:
            arguments += ", ''"
        code = f"{code[: match.start()]}string_agg({arguments}{order}){rest}"
    return code


def _closing(code: str, position: int) -> int:
    """Where the parenthesis closes that was opened before a position."""
    depth = 1
    for index in range(position, len(code)):
        depth += (code[index] == "(") - (code[index] == ")")
        if not depth:
            return index
    raise ValueError("a parenthesis is not closed")
