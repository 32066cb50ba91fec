"""Prepare Superset's own database and import the dashboards into it: a step of `make bi`.

    python prepare.py < assets.json

It runs in Superset's environment. It reads the assets as one JSON object, path -> YAML. To standard
output it writes only the password of the user `admin`, when it creates that user.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import sys

ADMIN = "admin"


def prepare(assets: dict[str, str]) -> str | None:
    """Bring the state up to date; return the password of a new user."""
    from flask import g
    from flask_migrate import upgrade
    from superset.app import create_app

    app = create_app()
    with app.app_context():
        from superset import appbuilder, security_manager
        from superset.commands.importers.v1.assets import ImportAssetsCommand
        from superset.extensions import db

        upgrade()
        appbuilder.add_permissions(update_perms=True)
        security_manager.sync_role_definitions()
        password = None
        user = security_manager.find_user(ADMIN)
        if user is None:
            password = secrets.token_urlsafe(15)
            role = security_manager.find_role("Admin")
            user = security_manager.add_user(
                ADMIN, "Admin", "User", "admin@localhost", role, password
            )
        db.session.commit()
        g.user = user
        ImportAssetsCommand(assets).run()
    return password


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):  # Superset's own messages
        made = prepare(json.load(sys.stdin))
    if made:
        print(made)
