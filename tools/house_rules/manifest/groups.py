"""What the house asks of models and dbt-bouncer has no check for."""

from typing import Any

from dbt_bouncer.check_framework.decorator import check, fail


@check
def check_model_has_group(model: Any) -> None:
    """Models must belong to a group, whose owner answers for them."""
    if not model.group:
        fail(f"`{model.name}` belongs to no group, so nobody owns it: see models/_groups.yml.")
