"""Project rules that dbt-bouncer lacks."""

from typing import Any

from dbt_bouncer.check_framework.decorator import check, fail


@check
def check_model_has_group(model: Any) -> None:
    """Every model must belong to a group, which has an owner."""
    if not model.group:
        fail(f"`{model.name}` belongs to no group, so it has no owner: see models/_groups.yml.")
