"""Arrow takes a tenth of a second to import, so this is done while the source works.

So modules that need Arrow are not imported at the top of those that do not always need them.
"""

import sys
import threading
from importlib import import_module


def begin_import() -> None:
    """Import, in a thread, Arrow and what DuckDB needs to read it."""
    threading.Thread(target=import_module, args=("pyarrow.dataset",)).start()


def is_arrow_error(error: Exception) -> bool:
    """Whether Arrow raised it, which then is imported by now."""
    # While the thread above imports it, the module is there, and has nothing in it yet.
    kind = getattr(sys.modules.get("pyarrow"), "ArrowException", None)
    return kind is not None and isinstance(error, kind)
