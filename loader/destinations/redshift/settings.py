"""The environment variables of a warehouse in Amazon Redshift: what they mean, which are missing.

The output `redshift` of profiles.example.yml reads the same ones; docs/redshift.md lists them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...errors import UsageError
from ...urls import is_local

if TYPE_CHECKING:
    from .destination import RedshiftDestination

MORE_PACKAGES = (
    "Amazon Redshift needs more packages: sh scripts/environment.sh requirements/redshift.txt"
)
METHODS = ("database", "iam")
SSL_MODES = ("verify-full", "verify-ca")


def missing_settings(environment: Mapping[str, str]) -> list[str]:
    """One sentence for each missing or wrong variable; empty when all are right."""
    found = {name: value for name, value in environment.items() if value}
    needed = {
        "REDSHIFT_HOST": "the endpoint of the workgroup or cluster, without port and database",
        "REDSHIFT_USER": "the database user",
    }
    method = found.get("REDSHIFT_METHOD", METHODS[0])
    sentences = []
    if method == "database":
        needed["REDSHIFT_PASSWORD"] = "that user's password, or set REDSHIFT_METHOD=iam"
    elif method == "iam":
        serverless = "REDSHIFT_WORKGROUP" in found or "serverless" in found.get("REDSHIFT_HOST", "")
        if not serverless:
            needed["REDSHIFT_CLUSTER_ID"] = (
                "the name of the cluster that gives the temporary password, or REDSHIFT_WORKGROUP"
                " to that of a serverless workgroup"
            )
        needed["AWS_REGION"] = "the region that it is in, such as eu-central-1"
    else:
        sentences.append(f"REDSHIFT_METHOD is {method}: set it to {' or '.join(METHODS)}.")
    port = found.get("REDSHIFT_PORT", "5439")
    if not port.isdecimal():
        sentences.append(f"REDSHIFT_PORT is {port}: set it to a number, or leave it out for 5439.")
    mode, host = found.get("REDSHIFT_SSLMODE", SSL_MODES[0]), found.get("REDSHIFT_HOST", "")
    if mode not in SSL_MODES and not (mode == "disable" and is_local(host)):
        sentences.append(
            f"REDSHIFT_SSLMODE is {mode}: set it to {' or '.join(SSL_MODES)}; it can be disable"
            " for a server on this machine only."
        )
    sentences += [
        f"{name} is not set: set it to {meaning}."
        for name, meaning in needed.items()
        if name not in found
    ]
    return sentences


def driver_parameters(settings: Mapping[str, str]) -> dict[str, Any]:
    """The parameters of redshift_connector.connect, from the variables.

    Raises UsageError that says, in one line, what is missing.
    """
    missing = missing_settings(settings)
    if missing:
        raise UsageError(" ".join(["TARGET=redshift cannot start.", *missing]))
    found = {name: value for name, value in settings.items() if value}
    host, mode = found["REDSHIFT_HOST"], found.get("REDSHIFT_SSLMODE", SSL_MODES[0])
    parameters: dict[str, Any] = {
        "host": host,
        "port": int(found.get("REDSHIFT_PORT", 5439)),
        "database": found.get("REDSHIFT_DATABASE", "dev"),
        "region": found.get("AWS_REGION"),
        "is_serverless": "REDSHIFT_WORKGROUP" in found or "serverless" in host,
        "ssl": mode != "disable",
        "sslmode": mode if mode in SSL_MODES else SSL_MODES[0],
    }
    if found.get("REDSHIFT_METHOD") == "iam":
        parameters |= {
            "iam": True,
            "db_user": found["REDSHIFT_USER"],
            "cluster_identifier": found.get("REDSHIFT_CLUSTER_ID"),
            "serverless_work_group": found.get("REDSHIFT_WORKGROUP"),
            "profile": found.get("AWS_PROFILE"),
        }
    else:
        parameters |= {"user": found["REDSHIFT_USER"], "password": found["REDSHIFT_PASSWORD"]}
    return {name: value for name, value in parameters.items() if value is not None}


def redshift_destination(raw_schema: str, connection: Mapping[str, Any]) -> RedshiftDestination:
    """The loader's destination; REDSHIFT_S3_STAGING and REDSHIFT_IAM_ROLE say how rows get there.

    Raises UsageError, also when the packages for it are not installed.
    """
    try:
        from .destination import RedshiftDestination
        from .files import StagingFiles
    except ImportError as error:
        raise UsageError(f"{error.name} is not installed. {MORE_PACKAGES}") from None
    url, region = os.environ.get("REDSHIFT_S3_STAGING"), connection.get("region")
    files = StagingFiles(url, region, os.environ.get("AWS_PROFILE") or None) if url else None
    role = os.environ.get("REDSHIFT_IAM_ROLE", "")
    return RedshiftDestination(raw_schema, connection, files, role)
