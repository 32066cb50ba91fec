"""Marts in which some orders of the last 30 days have the hour of their commit, and others none.

A log gives hours while a watch runs. Here they are made up, so that each kind of hour is there.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta

from support.project import Warehouse

# By the order's number: whole hours after the beginning of its day, or that no log gave one. An
# order of the evening before has another day in UTC.
HOURS_AFTER = {0: 9, 1: 9, 2: None, 3: 23, 4: -2}

SALES_BY_HOUR = """
create table marts.sales_by_hour as
with order_lines as (
    select
        lines.order_number,
        lines.order_date,
        case
            when lives.is_first_seen_in_log then date_trunc('hour', lives.first_seen_at)
        end as sales_hour_at,
        lives.is_first_seen_in_log as is_hour_known,
        products.product_line,
        coalesce(locations.country_standard_name, locations.country) as country,
        locations.region,
        locations.territory,
        lines.quantity_ordered,
        lines.revenue_amount
    from marts.fact_orders as lines
    inner join marts.fact_order_life as lives on lines.order_number = lives.order_number
    left join marts.dim_products as products
        on lines.product_version_key = products.product_version_key
    left join marts.dim_locations as locations on lines.location_key = locations.location_key
    where
        lines.is_revenue
        and lines.order_date between cast('{first}' as date) and cast('{last}' as date)
)
select
    cast(row_number() over () as varchar) as sales_by_hour_key,
    order_date,
    sales_hour_at,
    is_hour_known,
    product_line,
    country,
    region,
    territory,
    cast(count(distinct order_number) as bigint) as order_count,
    cast(count(*) as bigint) as line_count,
    cast(sum(quantity_ordered) as bigint) as unit_count,
    cast(sum(revenue_amount) as numeric(18, 2)) as revenue_amount,
    cast('{last}' as date) as as_of_date
from order_lines
group by order_date, sales_hour_at, is_hour_known, product_line, country, region, territory
"""


def commit_of(order: int, day: date) -> datetime | None:
    """When an order was committed; None where no log says so."""
    hours = HOURS_AFTER[order % len(HOURS_AFTER)]
    if hours is None:
        return None
    return datetime.combine(day, time()) + timedelta(hours=hours, minutes=order % 60, seconds=7)


def give_hours(warehouse: Warehouse, last: date) -> None:
    """Give orders of the 30 days up to `last` the times above, and write sales_by_hour."""
    first = last - timedelta(29)
    lives = "marts.fact_order_life"
    warehouse.query(f"alter table {lives} add column if not exists is_first_seen_in_log boolean")
    warehouse.query(f"update {lives} set is_first_seen_in_log = false")
    orders = warehouse.query(
        f"select order_number, order_date from {lives} where order_date between"
        f" cast('{first}' as date) and cast('{last}' as date)"
    )
    for number, day in orders:
        if commit := commit_of(number, day):
            warehouse.query(
                f"update {lives} set is_first_seen_in_log = true,"
                f" first_seen_at = cast('{commit}' as timestamp) where order_number = {number}"
            )
    write_sales_by_hour(warehouse, last)


def write_sales_by_hour(warehouse: Warehouse, last: date) -> None:
    """Calculate sales_by_hour from the facts as they are."""
    first = last - timedelta(29)
    warehouse.query("drop table if exists marts.sales_by_hour")
    warehouse.query(SALES_BY_HOUR.format(first=first, last=last))
