"""The statements of a publish that Redshift needs in another form."""

from ...dialects.standard import quote
from ...schema import METADATA_COLUMNS
from ..merge import Merge
from .rows import line_sql


class RedshiftMerge(Merge):
    """Without `except all` and row numbers: rows are found again by a digest of their values."""

    def by_whole_rows(self) -> tuple[int, int, int]:
        """What is gone gets a tombstone, what is new is inserted; equal rows are counted.

        Where a value has too many rows, all of them are removed and inserted again, some as they
        were and the surplus with a tombstone.
        """
        create = self._warehouse._create_temporary
        fields = [(quote(name), kind) for name, kind in self._kinds.items()]
        held = f"md5({line_sql(fields)})"
        offered = (
            f"md5({line_sql([(self._values[name], kind) for name, kind in self._kinds.items()])})"
        )
        counts = create(
            "_load_counts",
            "select _load_digest, sum(_load_held) as held, sum(_load_staged) as staged from"
            f" (select {held} as _load_digest, 1 as _load_held, 0 as _load_staged"
            f" from {self._target} where _deleted_at is null"
            f" union all select {offered}, 0, 1 from {self._staged} as s) as both_sides"
            " group by _load_digest having sum(_load_held) <> sum(_load_staged)",
        )
        surplus = create(
            "_load_surplus",
            f"select t.*, c.staged as _load_staged, row_number() over"
            " (partition by t._load_digest order by t._loaded_at) as _load_number"
            f" from (select {self._names}, _loaded_at, _batch_id, {held} as _load_digest"
            f" from {self._target} where _deleted_at is null) as t"
            f" inner join {counts} as c on t._load_digest = c._load_digest"
            " where c.held > c.staged",
        )
        self._run(
            f"delete from {self._target} where _deleted_at is null and {held} in"
            f" (select _load_digest from {counts} where held > staged)"
        )
        stamps = ", ".join(
            f"case when _load_number > _load_staged then {new} else {old} end"
            for new, old in (
                (self._at, "_loaded_at"),
                (self._batch, "_batch_id"),
                (self._at, "null"),
            )
        )
        self._run(
            f"insert into {self._target} ({self._names}, {', '.join(METADATA_COLUMNS)})"
            f" select {self._names}, {stamps} from {surplus}"
        )
        ((deleted,),) = self._warehouse._rows(
            f"select count(*) from {surplus} where _load_number > _load_staged"
        )
        values = ", ".join(f"{value} as {quote(name)}" for name, value in self._values.items())
        inserted = self._run(
            f"insert into {self._target} ({self._names}, _loaded_at, _batch_id)"
            f" select {self._names}, {self._at}, {self._batch} from"
            " (select s.*, c.held as _load_held, row_number() over"
            " (partition by s._load_digest order by s._load_digest) as _load_number"
            f" from (select {values}, {offered} as _load_digest from {self._staged} as s) as s"
            f" inner join {counts} as c on s._load_digest = c._load_digest"
            " where c.staged > c.held) as fresh where _load_number > _load_held"
        )
        for name in (counts, surplus):
            self._run(f"drop table {name}")
        return inserted, 0, int(deleted)
