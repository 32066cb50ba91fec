"""The configuration of Apache Superset for one person on one machine, as `make bi` serves it.

Superset imports this module by its name. pipeline/dashboards.py sets the environment: SUPERSET_HOME
is the private folder of Superset's own data, BI_WAREHOUSE says how to reach the warehouse (JSON:
`kind` duckdb or postgres, and `connection`, the parameters of its driver).
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import duckdb
from duckdb_engine import Dialect as DuckDBDialect
from sqlalchemy import event
from sqlalchemy.engine.url import URL
from sqlalchemy.pool import NullPool
from superset.exceptions import SupersetException

STATE = Path(os.environ["SUPERSET_HOME"])
WAREHOUSE = json.loads(os.environ["BI_WAREHOUSE"])
# The name in databases/warehouse.yaml.
DATABASE_NAME = "Warehouse"
# Seconds to wait for a build that has the DuckDB file open.
PATIENCE = 20.0

# Signs sessions and CSRF tokens, and encrypts what Superset stores.
SECRET_KEY = (STATE / "secret_key").read_text("ascii")
# The features that use these are switched off; Superset's defaults for them are public.
GUEST_TOKEN_JWT_SECRET = GLOBAL_ASYNC_QUERIES_JWT_SECRET = SECRET_KEY
SQLALCHEMY_DATABASE_URI = f"sqlite:///{STATE / 'superset.db'}?check_same_thread=false"

# These four are Superset's defaults; set here, the environment cannot switch them off.
WTF_CSRF_ENABLED = True
TALISMAN_ENABLED = True
SESSION_COOKIE_HTTPONLY = True
RATELIMIT_ENABLED = True
# A page requests many files but few chart queries; logins stay limited to five a second.
RATELIMIT_APPLICATION = "500 per second"
# There is no https on loopback, so a cookie for https only would never be sent.
SESSION_COOKIE_SECURE = False
# Cookies ignore the port, so another Superset on this machine needs another name.
SESSION_COOKIE_NAME = "classicmodels_bi"
TALISMAN_CONFIG = {
    # Pages load only from this server: no maps, fonts or tracking pixels from others.
    "content_security_policy": {
        "base-uri": ["'self'"],
        "default-src": ["'self'"],
        "img-src": ["'self'", "blob:", "data:"],
        "worker-src": ["'self'", "blob:"],
        "connect-src": ["'self'"],
        "object-src": ["'none'"],
        "style-src": ["'self'", "'unsafe-inline'"],
        "script-src": ["'self'", "'strict-dynamic'"],
        "frame-ancestors": ["'none'"],
    },
    "content_security_policy_nonce_in": ["script-src"],
    "frame_options": "DENY",
    "force_https": False,
    "session_cookie_secure": False,
    "session_cookie_samesite": "Strict",
}


def warehouse_connection(
    uri: URL, parameters: dict[str, Any], *_: object
) -> tuple[URL, dict[str, Any]]:
    """Connect the assets' database to the warehouse of this environment; change no other.

    So Superset never stores the address and password of the warehouse.
    """
    if uri.host or uri.database != DATABASE_NAME:
        return uri, parameters
    connection = WAREHOUSE["connection"]
    if WAREHOUSE["kind"] == "duckdb":
        # A process cannot open a DuckDB file with two configurations, and Superset's own
        # configuration differs by user.
        uri = URL.create("duckdb", database=connection["path"])
        arguments = {"read_only": True, "config": {"enable_external_access": "false"}}
    else:
        uri = URL.create("postgresql+psycopg2")
        options = "-c default_transaction_read_only=on -c timezone=UTC"
        arguments = {**connection, "options": options, "connect_timeout": 10}
    # A connection that stays open would lock a DuckDB file against writers.
    return uri, {**parameters, "connect_args": arguments, "poolclass": NullPool}


DB_CONNECTION_MUTATOR = warehouse_connection


def wait_for_the_build(
    dialect: Any, _record: object, arguments: list[Any], parameters: dict[str, Any]
) -> Any:
    """Open the DuckDB file as soon as nobody writes to it. Raises SupersetException."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return dialect.connect(*arguments, **parameters)
        except duckdb.IOException as error:
            if "Could not set lock" not in str(error):
                raise
            if time.monotonic() > deadline:
                raise SupersetException(
                    "The warehouse is being built. Refresh the dashboard when make build has ended."
                ) from None
            time.sleep(0.2)


event.listen(DuckDBDialect, "do_connect", wait_for_the_build)

APP_NAME = "classicmodels"
# Charts with one colour use the first; colour-blind people can distinguish neighbours.
EXTRA_CATEGORICAL_COLOR_SCHEMES = [
    {
        "id": "classicmodels",
        "description": "",
        "label": "classicmodels",
        "isDefault": True,
        "colors": [
            "#1f5a92",
            "#e0a030",
            "#2f8f6b",
            "#b5482f",
            "#7f9fc4",
            "#8a5a9e",
            "#6b7280",
            "#c9b458",
        ],
    }
]
THEME_DARK = None  # the colours are for a light background
FEATURE_FLAGS = {"ALERT_REPORTS": False}
