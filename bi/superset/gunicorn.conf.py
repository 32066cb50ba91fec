"""How Superset is served: on the loopback address, by threads of one process."""

import os

port = os.environ["BI_PORT"]
bind = f"127.0.0.1:{port}"
worker_class = "gthread"
threads = 8
timeout = 120  # seconds
loglevel = "warning"


def post_worker_init(_worker: object) -> None:
    """Print the address as soon as the server answers."""
    print(f"The dashboards are at http://localhost:{port} (Ctrl-C ends it).", flush=True)
