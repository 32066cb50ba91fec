"""What a watch was asked for."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from ..destinations import Destination
from ..options import Options


@dataclass
class Watch:
    """What a person asked for."""

    source_url: str
    open_destination: Callable[[], Destination]
    options: Options
    say: Callable[[str], None]
    # Seconds between two comparisons of all tables; 0 for none.
    audit: float = 900.0
    # Seconds between two comparisons of what no log tells.
    every: float = 10.0
    # Seconds between two copies for readers; 0 for none.
    copy: float = 0.0
    # Raw tables of which it is stored when a row was first committed.
    commit_times: tuple[str, ...] = ()
    stop: threading.Event = field(default_factory=threading.Event)
