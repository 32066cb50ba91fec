"""Private MariaDB and PostgreSQL servers for tests and benchmarks, and the tests' browser.

Each server has its own data directory in a temporary folder and a free port on the loopback
address. It reads no configuration of the machine, shares nothing with a server that already runs
there, and is stopped and removed on exit:

    with MariaDBServer() as mariadb:
        url = mariadb.create_database("shop")
        mariadb.execute("create table t (id int primary key)", "shop")

`python -m tools.servers` names the missing binaries; with `--install` it installs them where it can
(Debian, as root or with a password-less sudo).
"""

from tools.servers.mariadb import MariaDBServer
from tools.servers.mysql import MySQLServer
from tools.servers.postgres import PostgresServer
from tools.servers.programs import Chromium, Program, ServerError
from tools.servers.server import HOST, PASSWORD, USER, Server, free_port

__all__ = [
    "HOST",
    "PASSWORD",
    "USER",
    "Chromium",
    "MariaDBServer",
    "MySQLServer",
    "PostgresServer",
    "Program",
    "Server",
    "ServerError",
    "free_port",
]
