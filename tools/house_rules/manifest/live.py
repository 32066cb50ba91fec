"""What has to hold for models that follow the shop second by second."""

from typing import Any

from dbt_bouncer.check_framework.decorator import check, fail

LIVE = "live"


@check
def check_live_model_has_live_parents(model: Any, ctx: Any) -> None:
    """Every table that a live model reads, also through views, must be live itself."""
    if LIVE not in model.tags:
        return
    nodes = {node.unique_id: node for node in [*ctx.models, *ctx.snapshots]}
    left = [model]
    while left:
        for name in left.pop().depends_on.nodes:
            parent = nodes.get(name)
            if parent is None:
                continue  # a source or a seed
            if parent.config.materialized == "view":
                left.append(parent)
            elif LIVE not in parent.tags:
                fail(
                    f"`{model.name}` has the tag {LIVE}, but `{parent.name}`, which it reads, has"
                    " not: it would be calculated from old rows."
                )
