"""Which environment variables a warehouse in Amazon Redshift needs, and which are missing.

They are those that the output `redshift` of profiles.example.yml reads; the README has a table.
"""

from __future__ import annotations

from collections.abc import Mapping

METHODS = ("database", "iam")


def missing_settings(environment: Mapping[str, str]) -> list[str]:
    """One sentence for each variable without which nobody can log in; empty when all are there."""
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
    sentences += [
        f"{name} is not set: set it to {meaning}."
        for name, meaning in needed.items()
        if name not in found
    ]
    return sentences
