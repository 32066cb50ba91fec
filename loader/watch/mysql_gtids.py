"""MySQL's numbers of transactions (GTIDs), by which a snapshot is found in its log.

The server counts a transaction as executed only when all can see it. So a snapshot that begins
later shows it, and what was not yet executed is read again.
"""

from dataclasses import dataclass

from ..sources.mysql_connection import Rows
from .binlog import Event


@dataclass(frozen=True)
class Executed:
    """The transactions that a server has executed: by server and tag, ranges of numbers."""

    ranges: dict[str, list[tuple[int, int]]]

    @classmethod
    def of(cls, text: str) -> "Executed":
        """Read a set of GTIDs as the server writes it: `server:1-9:11,server:tag:1`."""
        ranges: dict[str, list[tuple[int, int]]] = {}
        for part in text.split(","):
            server, *rest = part.strip().lower().split(":")
            name = server
            for word in rest:
                first, _, last = word.partition("-")
                if first.isdigit():
                    ranges.setdefault(name, []).append((int(first), int(last or first)))
                else:
                    name = f"{server}:{word}"
        return cls(ranges)

    def __contains__(self, gtid: tuple[str, int]) -> bool:
        server, number = gtid
        return any(low <= number <= high for low, high in self.ranges.get(server, ()))


def gtid_of(event: Event) -> tuple[str, int]:
    """The server and the number of the transaction that follows."""
    digits = event.body[1:17].hex()
    server = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
    return server, int.from_bytes(event.body[17:25], "little")


def log_status(rows: Rows) -> tuple[str, int, str, str]:
    """The newest log file and place, and the databases that are, or are not, in it."""
    ((version,),) = rows("select @@version")
    numbers = tuple(int(n) for n in version.partition("-")[0].split(".")[:2])
    is_new = "mariadb" not in version.lower() and numbers >= (8, 2)
    ((file, place, only, without, *_),) = rows(
        "show binary log status" if is_new else "show master status"
    )
    return file, int(place), only, without
