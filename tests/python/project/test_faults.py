"""Faults of every kind, planted one at a time: dbt fails or warns, and names the test that knows.

The warehouse and the project are those of the sample shop, which is green. A fault that no test
finds would be one that reaches the people who read the marts.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import pytest

from loader import LoadError
from support.built import DAY, BuiltWarehouses, Copy, shop
from support.project import RAW_SCHEMA, Outcome, Project, Warehouse

# One row of the table; faults that are planted together have one each.
CUSTOMER = "(select customernumber from customers order by 1 limit 1 offset 0)"
ORDER = "(select ordernumber from orders order by 1 limit 1 offset 0)"
SHIPPED = (
    "(select ordernumber from orders where status = 'Shipped' order by 1 desc limit 1 offset 0)"
)
CHECK = "(select checknumber from payments order by 1 limit 1 offset 0)"
PRODUCT = "productcode = (select productcode from products order by 1 limit 1 offset 0)"
AMERICAN = "(select min(customernumber) from customers where country = 'USA')"
EMPLOYEE = (
    "(select employeenumber from employees where jobtitle = 'Sales Rep'"
    " order by 1 desc limit 1 offset 0)"
)
# A row that the loader did not write is also one that its audit does not know.
AUDIT = "raw_rows_match_the_load_audit"
# Unit tests do not read the warehouse; marts on top of the star are then those of before.
ELSEWHERE = "test_type:unit path:models/marts/sales path:models/marts/finance"
ELSEWHERE += " path:models/marts/marketing path:models/marts/data_science"
ELSEWHERE += " path:tests/singular/marts/sales"


@dataclass(frozen=True)
class Fault:
    """Something wrong in the raw tables (`sql`), in the project (`edits`), or both."""

    name: str
    fails: set[str]  # exactly these, of what dbt runs before it stops
    select: str
    sql: str = ""
    edits: Sequence[tuple[str, str, str]] = ()
    exclude: str = ELSEWHERE
    warns: frozenset[str] = frozenset()  # where given, exactly these; without `fails` dbt is green
    alone: bool = False  # touches so much, or lies so deep, that others would be hidden
    far_dates: bool = False  # which dates are plausible depends on all of them
    # Of changes: those with the same word are made together, of models that do not read each other.
    beside: str = ""

    def __str__(self) -> str:
        return self.name

    def hides(self, other: Fault) -> bool:
        """Whether the two, planted together, might not each be named by its own tests."""
        return (
            self.alone
            or other.alone
            or (self.far_dates and other.far_dates)
            or self.exclude != other.exclude
            or bool((self.fails | self.warns) & (other.fails | other.warns))
            or self.stops_staging() != other.stops_staging()
        )

    def stops_staging(self) -> bool:
        return any(name.startswith("raw_") and name != AUDIT for name in self.fails)


def arrival(
    name: str,
    table: str,
    sql: str,
    *fails: str,
    depth: int = 1,
    alone: bool = False,
    far_dates: bool = False,
) -> Fault:
    """Something wrong in a raw table; dbt builds and tests what lies so far behind it."""
    select = f"source:classicmodels.{table}+{depth}"
    return Fault(name, set(fails), select, sql, alone=alone or depth > 1, far_dates=far_dates)


def oddity(
    name: str, table: str, sql: str, *warns: str, fails: Sequence[str] = (), alone: bool = False
) -> Fault:
    """Something odd in a raw table, of which dbt warns; the loader's audit knows its rows."""
    recount = (
        f";update _load_tables set rows_live = (select count(*) from {table}"
        f" where _deleted_at is null) where table_name = '{table}'"
    )
    return Fault(
        name,
        set(fails),
        f"source:classicmodels.{table}+1",
        sql + recount,
        exclude=f"{ELSEWHERE} path:tests/singular/marts",  # which are of before
        warns=frozenset(warns),
        alone=alone,
    )


def together(faults: Sequence[Fault]) -> list[list[Fault]]:
    """Groups of faults that are planted at once, because a build takes a second or more."""
    groups: list[list[Fault]] = []
    for fault in faults:
        for group in groups:
            if not any(fault.hides(other) for other in group):
                group.append(fault)
                break
        else:
            groups.append([fault])
    return groups


def side_by_side(changes: Sequence[Fault]) -> list[list[Fault]]:
    """The same for changes of the project: as they say themselves."""
    groups: dict[str, list[Fault]] = {}
    for change in changes:
        groups.setdefault(change.beside or change.name, []).append(change)
    return list(groups.values())


def named(group: Sequence[Fault]) -> str:
    return f"{group[0]}, and {len(group) - 1} more" if len(group) > 1 else str(group[0])


def a_copy(table: str, where: str, **values: str) -> str:
    """SQL that inserts rows again, with other values in some columns."""
    columns = ", ".join(f"{value} as {column}" for column, value in values.items())
    return f"insert into {table} by name select * replace ({columns}) from {table} where {where}"


ARRIVALS = [
    arrival(
        "product line twice",
        "productlines",
        "insert into productlines select * from productlines where productline = 'Ships'",
        "raw_productlines_key_is_unique_and_not_null",
        AUDIT,
    ),
    arrival(
        "customer twice",
        "customers",
        f"insert into customers select * from customers where customernumber = {CUSTOMER}",
        "raw_customers_key_is_unique_and_not_null",
        AUDIT,
    ),
    arrival(
        "order line whose order is gone",
        "orderdetails",
        f"update orderdetails set ordernumber = 1 where ordernumber = {ORDER}",
        "order_lines_belong_to_a_known_order",
    ),
    arrival(
        "order line of an unknown product",
        "orderdetails",
        f"update orderdetails set productcode = 'S0_0' where ordernumber = {ORDER}"
        " and orderlinenumber = 1",
        "order_lines_have_a_known_product",
    ),
    arrival(
        "order of an unknown customer",
        "orders",
        f"update orders set customernumber = 1 where ordernumber = {ORDER}",
        "orders_belong_to_a_known_customer",
    ),
    arrival(
        "payment of an unknown customer",
        "payments",
        f"update payments set customernumber = 1 where checknumber = {CHECK}",
        "payments_belong_to_a_known_customer",
    ),
    arrival(
        "customer with an unknown representative",
        "customers",
        f"update customers set salesrepemployeenumber = 1 where customernumber = {CUSTOMER}",
        "customers_have_a_known_sales_rep_or_none",
    ),
    arrival(
        "employee whose manager is gone",
        "employees",
        f"update employees set reportsto = 1 where employeenumber = {EMPLOYEE}",
        "employees_report_to_a_known_manager_or_nobody",
    ),
    arrival(
        "employee of an unknown office",
        "employees",
        f"update employees set officecode = '99' where employeenumber = {EMPLOYEE}",
        "employees_work_at_a_known_office",
    ),
    arrival(
        "product whose line is gone",
        "products",
        f"update products set productline = 'Spaceships' where {PRODUCT}",
        "products_belong_to_a_known_product_line",
    ),
    arrival(
        "negative price",
        "orderdetails",
        f"update orderdetails set priceeach = -0.01 where ordernumber = {ORDER}",
        "order_prices_are_not_negative",
    ),
    arrival(
        "quantity of zero",
        "orderdetails",
        f"update orderdetails set quantityordered = 0 where ordernumber = {ORDER}",
        "order_quantities_are_positive",
    ),
    arrival(
        "negative quantity",
        "orderdetails",
        f"update orderdetails set quantityordered = -5 where ordernumber = {ORDER}",
        "order_quantities_are_positive",
    ),
    arrival(
        "payment of nothing",
        "payments",
        f"update payments set amount = 0 where checknumber = {CHECK}",
        "payment_amounts_are_positive",
    ),
    arrival(
        "new status",
        "orders",
        f"update orders set status = 'Returned' where ordernumber = {ORDER}",
        "order_statuses_are_known",
    ),
    arrival(
        "territory that offices did not have",
        "offices",
        "update offices set territory = 'LATAM' where officecode = '1'",
        "office_territories_are_known",
    ),
    arrival(
        "country that is not in the seed",
        "customers",
        f"update customers set country = 'Ruritania' where customernumber = {CUSTOMER}",
        "every_country_is_in_the_seed",
        depth=5,
    ),
    arrival(
        "key that is null",
        "customers",
        "alter table customers alter customernumber drop not null;"
        f"update customers set customernumber = null where customernumber = {CUSTOMER}",
        "raw_customers_key_is_unique_and_not_null",
    ),
    arrival(
        "required value that is only blanks",
        "customers",
        f"update customers set city = '  ' where customernumber = {CUSTOMER}",
        "customers_have_their_required_values",
    ),
    arrival(
        "money that became a float and is no longer of whole cents",
        "orderdetails",
        "drop view staging.stg_classicmodels__order_details cascade;"
        "alter table orderdetails alter priceeach type double precision;"
        # So little that it is the same to the cent, and the marts of before agree with it.
        f"update orderdetails set priceeach = priceeach - 0.000001 where ordernumber = {ORDER}"
        " and orderlinenumber = 1",
        "raw_money_is_exact",
    ),
    arrival(
        "line number twice in an order",
        "orderdetails",
        f"update orderdetails set orderlinenumber = 1 where ordernumber = {ORDER}",
        "fact_orders_line_numbers_are_unique",
        depth=4,
    ),
    arrival(
        "order shipped before it was placed",
        "orders",
        f"update orders set shippeddate = orderdate - 1 where ordernumber = {SHIPPED}",
        "orders_are_not_shipped_before_ordered",
    ),
    arrival(
        "order of next year",
        "orders",
        "update orders set orderdate = orderdate + 1000, requireddate = requireddate + 1000"
        " where ordernumber = (select max(ordernumber) from orders where shippeddate is null)",
        "orders_are_not_dated_in_the_future",
        far_dates=True,
    ),
    arrival(
        "row without a stamp",
        "orders",
        "alter table orders alter _loaded_at drop not null;"
        f"update orders set _loaded_at = null where ordernumber = {ORDER}",
        "raw_orders_rows_are_stamped",
    ),
    arrival(
        "order that the shop dates before it existed",
        "orders",
        "update orders set orderdate = '1970-01-01', requireddate = '1970-01-08',"
        f" shippeddate = '1970-01-03' where ordernumber = {ORDER}",
        "order_dates_are_plausible",
        far_dates=True,
    ),
    arrival(
        "order date of 1970 beside other dates of today",
        "orders",
        f"update orders set orderdate = '1970-01-01' where ordernumber = {ORDER}",
        "order_dates_are_plausible",
        "orders_are_required_soon",
        far_dates=True,
    ),
    arrival(
        "payment of 1970",
        "payments",
        f"update payments set paymentdate = '1970-01-01' where checknumber = {CHECK}",
        "payment_dates_are_plausible",
        alone=True,
    ),
    arrival(
        "payment of 2062",
        "payments",
        f"update payments set paymentdate = '2062-01-01' where checknumber = {CHECK}",
        "payments_are_not_dated_in_the_future",
        far_dates=True,
    ),
    arrival(
        "order shipped in the future",
        "orders",
        f"update orders set shippeddate = '2062-01-01' where ordernumber = {SHIPPED}",
        "orders_are_not_shipped_in_the_future",
        far_dates=True,
    ),
    arrival(
        "order required in 2062",
        "orders",
        f"update orders set requireddate = '2062-01-01' where ordernumber = {ORDER}",
        "orders_are_required_soon",
        far_dates=True,
    ),
    arrival(
        "all shipping dates gone",
        "orders",
        "update orders set shippeddate = null",
        "most_shipped_orders_have_a_shipping_date",
        alone=True,
    ),
    arrival(
        "price times 100",
        "orderdetails",
        "update orderdetails set priceeach = priceeach * 100"
        f" where ordernumber = {ORDER} and orderlinenumber = 1",
        "order_prices_are_near_the_list_price",
    ),
    arrival(
        "quantity times 1,000",
        "orderdetails",
        "update orderdetails set quantityordered = quantityordered * 1000"
        f" where ordernumber = {ORDER} and orderlinenumber = 1",
        "order_quantities_are_near_the_others",
    ),
    arrival(
        "product code that is another's but for a blank",
        "products",
        a_copy("products", PRODUCT, productcode="productcode || ' '"),
        "products_are_there_once",
        AUDIT,
    ),
    arrival(
        "office code that is another's but for a blank",
        "offices",
        a_copy("offices", "officecode = '1'", officecode="officecode || ' '"),
        "offices_are_there_once",
        AUDIT,
    ),
    arrival(
        "order line that is another's but for a blank",
        "orderdetails",
        a_copy("orderdetails", f"ordernumber = {ORDER}", productcode="productcode || ' '"),
        "order_lines_are_there_once",
        AUDIT,
    ),
    arrival(
        "check number that is another's but for a blank",
        "payments",
        a_copy("payments", f"checknumber = {CHECK}", checknumber="checknumber || ' '"),
        "payment_checks_are_there_once",
        AUDIT,
    ),
    Fault(
        "order that was committed twice",
        {"order_commits_are_there_once"},
        "stg_classicmodels__order_commits",
        "insert into _load_commits select 'orders', '10100', timestamp '2026-11-20', batch_id"
        " from _load_runs union all select 'orders', '10100', timestamp '2026-11-20', 'another'",
    ),
    arrival(
        "rows deleted behind the loader's back",
        "payments",
        "delete from payments where customernumber = (select min(customernumber) from payments)",
        AUDIT,
        depth=2,
    ),
]


# What can be true, but should not surprise anybody.
ODDITIES = [
    oddity(
        "order on the way for years",
        "orders",
        "update orders set orderdate = orderdate - 400, requireddate = requireddate - 400"
        f" where ordernumber = {SHIPPED}",
        "orders_are_shipped_soon",
    ),
    *(
        oddity(
            f"{status.lower()} order without a shipping date",
            "orders",
            f"update orders set status = '{status}', shippeddate = null"
            f" where ordernumber = {SHIPPED}",
            "shipped_orders_have_a_shipping_date",
        )
        for status in ("Shipped", "Disputed", "Resolved")
    ),
    *(
        oddity(
            f"order {status.lower()} with a shipping date",
            "orders",
            f"update orders set status = '{status}' where ordernumber = {SHIPPED}",
            "open_orders_have_no_shipping_date",
        )
        for status in ("In Process", "On Hold")
    ),
    oddity(
        "shipped order that is cancelled",
        "orders",
        f"update orders set status = 'Cancelled' where ordernumber = {SHIPPED}",
        "cancelled_orders_were_not_shipped",
    ),
    oddity(
        "price divided by 100",
        "orderdetails",
        "update orderdetails set priceeach = priceeach / 100"
        f" where ordernumber = {ORDER} and orderlinenumber = 1",
        "order_prices_are_not_far_below_the_list_price",
    ),
    oddity(
        "product that was bought for nothing",
        "products",
        f"update products set buyprice = 0 where {PRODUCT}",
        "products_have_a_buy_price",
    ),
    oddity(
        "list price below the buy price",
        "products",
        f"update products set buyprice = msrp + 0.01 where {PRODUCT}",
        "products_are_listed_above_their_buy_price",
    ),
    oddity(
        "order whose lines are gone",
        "orderdetails",
        f"update orderdetails set _deleted_at = _loaded_at where ordernumber = {ORDER}",
        "orders_have_lines",
    ),
    oddity(
        "order that was imported twice",
        "orders",
        a_copy("orderdetails", f"ordernumber = {SHIPPED}", ordernumber="99999")
        + ";"
        + a_copy("orders", f"ordernumber = {SHIPPED}", ordernumber="99999")
        + ";update _load_tables set rows_live = (select count(*) from orderdetails"
        " where _deleted_at is null) where table_name = 'orderdetails'",
        "orders_are_there_once",
    ),
    oddity(
        "payment that was imported twice",
        "payments",
        a_copy("payments", f"checknumber = {CHECK}", checknumber="'ZZ AGAIN'"),
        "payments_are_there_once",
    ),
    oddity(
        "all payments imported twice",
        "payments",
        a_copy("payments", "true", checknumber="checknumber || '-2'"),
        "payments_are_there_once",
        fails=["payments_are_not_imported_twice"],
        alone=True,
    ),
    # Compared in the star, which is made anew for it.
    replace(
        oddity(
            "payment times 100",
            "payments",
            f"update payments set amount = amount * 100 where checknumber = {CHECK}",
            "payments_are_near_the_orders",
            alone=True,
        ),
        select="source:classicmodels.payments+1 fact_payments",
        exclude=ELSEWHERE,
    ),
    oddity(
        "buy price divided by 100",
        "products",
        f"update products set buyprice = buyprice / 100 where {PRODUCT}",
        "products_have_a_buy_price",
    ),
    oddity(
        "customer with two numbers",
        "customers",
        a_copy("customers", f"customernumber = {CUSTOMER}", customernumber="9999"),
        "customers_are_there_once",
    ),
    oddity(
        "product with two codes",
        "products",
        a_copy("products", PRODUCT, productcode="'ZZ AGAIN'"),
        "products_and_employees_have_one_key",
    ),
    oddity(
        "employee with two numbers",
        "employees",
        a_copy("employees", f"employeenumber = {EMPLOYEE}", employeenumber="1"),
        "products_and_employees_have_one_key",
    ),
    oddity(
        "credit limit times 1,000",
        "customers",
        f"alter table customers alter creditlimit type decimal(18, 2);"
        f"update customers set creditlimit = 1000 * creditlimit where customernumber = {CUSTOMER}",
        "credit_limits_are_near_the_others",
    ),
    oddity(
        "employee who is his own manager",
        "employees",
        f"update employees set reportsto = employeenumber where employeenumber = {EMPLOYEE}",
        "employees_are_not_their_own_managers",
    ),
    oddity(
        "employees who manage each other",
        "employees",
        f"update employees set reportsto = {EMPLOYEE} where employeenumber ="
        f" (select reportsto from employees where employeenumber = {EMPLOYEE})",
        "employees_are_not_their_own_managers",
    ),
    oddity(
        "product line twice but for a blank",
        "productlines",
        a_copy("productlines", "productline = 'Ships'", productline="'Ships '"),
        "product_lines_are_there_once",
    ),
    *(
        oddity(
            f"name that is spelled in two ways: {column}",
            table,
            f"update {table} set {column} = {spelling} where {where}",
            "names_are_spelled_in_one_way",
        )
        for table, column, spelling, where in (
            ("customers", "country", "'U.S.A.'", f"customernumber = {AMERICAN}"),
            ("products", "productline", "'SHIPS'", "productline = 'Ships'"),
            ("employees", "jobtitle", "'sales rep'", f"employeenumber = {EMPLOYEE}"),
        )
    ),
    oddity(
        "credit limits that are all gone",
        "customers",
        "update customers set creditlimit = null",
        "columns_have_values",
        alone=True,
    ),
    oddity(
        "stock that is zero everywhere",
        "products",
        "update products set quantityinstock = 0",
        "columns_have_values",
    ),
]

FACT_ORDERS = "models/marts/core/fact_orders.sql"
CANCELLED_COUNTS = (
    FACT_ORDERS,
    "not coalesce(orders.is_cancelled, false) as is_revenue",
    "true as is_revenue",
)
# A load of the day after that found another credit limit for each customer.
NEXT_DAY = (
    "update customers set creditlimit = creditlimit + 1;"
    "update _load_runs set started_at = started_at + interval '1 day'"
)

# By model: a column with the values of another one, of the same type, from a parent.
SWAPPED = {
    "dim_customers_current": ("dim_customers", "city as customer_name", "its_version_says"),
    "dim_employees_current": ("dim_employees", "email as extension", "its_version_says"),
    "dim_products_current": ("dim_products", "msrp as buy_price", "its_version_says"),
    "orders_obt": ("dim_products_current", "product_vendor as product_scale", "the_star_says"),
}

# What a person does who changes the project.
CHANGES = [
    *(
        Fault(
            f"swapped columns in {model}",
            {f"{model}_says_what_{ending}"},
            model,
            edits=[
                (
                    f"models/marts/core/{model}.sql",
                    f"select * from {{{{ ref('{parent}') }}}}",
                    f"select * replace ({columns}) from {{{{ ref('{parent}') }}}}",
                )
            ],
            beside="orders_obt" if model == "orders_obt" else "current",
        )
        for model, (parent, columns, ending) in SWAPPED.items()
    ),
    Fault(
        "inner join that loses the lines of customers without a representative",
        {"fact_orders_reconciles_with_raw_per_order"},
        "fact_orders",
        edits=[
            (
                FACT_ORDERS,
                "left join employees\n        on\n            customers",
                "inner join employees\n        on\n            employees.employee_key <> '-1'\n"
                "            and customers",
            )
        ],
    ),
    Fault(
        "fan-out of a join on postal code alone",
        {
            "fact_orders_key_is_unique_and_not_null",
            "fact_orders_line_numbers_are_unique",
            "fact_orders_parents_exist",  # customers without a postal code
            "fact_orders_reconciles_with_raw_per_order",
        },
        "fact_orders",
        edits=[
            (FACT_ORDERS, "coalesce(customers.location_key", "coalesce(locations.location_key"),
            (
                FACT_ORDERS,
                "    left join products\n",
                "    left join {{ ref('dim_locations') }} as locations"
                " on customers.postal_code = locations.postal_code\n"
                "    left join products\n",
            ),
        ],
    ),
    Fault(
        "fan-out of a join with every version there is",
        {
            "fact_orders_key_is_unique_and_not_null",
            "fact_orders_line_numbers_are_unique",
            "fact_orders_reconciles_with_raw_per_order",
        },
        "customers_snapshot dim_customers fact_orders",
        NEXT_DAY,
        edits=[("macros/version_day.sql", "{{ versions }}.valid_from <= {{ day }} and ", "")],
    ),
    Fault(
        "money as a float in a mart",
        {"fact_orders"},  # its contract
        "fact_orders",
        edits=[
            (
                FACT_ORDERS,
                "order_details.price_each as numeric(12, 2))\n            as order_amount",
                "order_details.price_each as double precision)\n            as order_amount",
            )
        ],
    ),
    Fault(
        "revenue that counts cancelled lines",
        {
            "fact_orders_flags_agree_with_status_and_dates",
            "fact_orders_revenue_leaves_out_cancelled_orders",
        },
        "fact_orders",
        edits=[CANCELLED_COUNTS],
    ),
    Fault(
        "revenue that counts cancelled lines, on made-up rows",
        {"order_line_amounts"},
        "fact_orders",
        edits=[CANCELLED_COUNTS],
        exclude="test_type:data",
    ),
    Fault(
        "empty text that is no longer null",
        {"text_is_trimmed_and_empty_text_is_null"},
        "stg_classicmodels__customers",
        edits=[("macros/clean_text.sql", "nullif(trim(", "coalesce(trim(")],
        exclude="test_type:data",
    ),
    Fault(
        "inner join that loses the employee without a manager",
        {"dim_employees_manager_exists"},
        "dim_employees",
        edits=[
            (
                "models/marts/core/dim_employees.sql",
                "left join named_employees as managers",
                "inner join named_employees as managers",
            )
        ],
        beside="dim_employees",
    ),
    Fault(
        "inner join that loses the customers without a representative",
        {
            "dimensions_keep_every_row",
            "fact_order_life_parents_exist",
            "fact_orders_parents_exist",
            "fact_payments_parents_exist",
        },
        "dim_customers+",
        edits=[
            (
                "models/marts/core/dim_customers.sql",
                "left join employees on",
                "inner join employees on",
            )
        ],
    ),
    Fault(
        "representative that is not looked up",
        {"dim_customers_sales_rep_is_linked"},
        "dim_customers",
        edits=[
            (
                "models/marts/core/dim_customers.sql",
                "coalesce(employees.employee_key, '-1')",
                "'-1'",
            )
        ],
        beside="dimensions",
    ),
    Fault(
        "office that is not looked up",
        {"dim_employees_office_is_linked"},
        "dim_employees",
        edits=[
            (
                "models/marts/core/dim_employees.sql",
                "{{ entity_key(['offices.office_code']) }}",
                "'-1'",
            )
        ],
        beside="dim_employees",
    ),
    Fault(
        "address of an office that is not looked up",
        {"dim_offices_location_is_linked"},
        "dim_offices",
        edits=[
            (
                "models/marts/core/dim_offices.sql",
                "coalesce(locations.location_key, '-1')",
                "'-1'",
            )
        ],
        beside="dimensions",
    ),
    Fault(
        "dimension without its unknown member",
        {"each_dimension_has_one_unknown_member"},
        "dim_products",
        edits=[
            (
                "models/marts/core/dim_products.sql",
                "with_unknown_member('versions_with_stock')",
                "with_unknown_member('versions_with_stock', {'product_key': \"'-2'\"})",
            )
        ],
        beside="dimensions",
    ),
    Fault(
        "location key that forgets the city",
        {
            "dim_locations_key_is_unique_and_not_null",
            "dim_customers_are_where_their_location_is",
            "dim_customers_location_exists",
            "dim_offices_are_where_their_location_is",
            "dim_offices_location_exists",
            "fact_order_life_parents_exist",
            "fact_orders_parents_exist",
            "fact_payments_parents_exist",
        },
        "int_addresses_located dim_locations",
        edits=[
            ("models/intermediate/geography/int_addresses_located.sql", "'addresses.city', ", "")
        ],
    ),
    Fault(
        "history that begins with the first load",
        {"dim_customers_history_is_complete"},
        "dim_customers",
        edits=[
            (
                "macros/snapshots/snapshot_versions.sql",
                "then {{ beginning_of_time() }}",
                "then dbt_valid_from",
            )
        ],
    ),
    Fault(
        "history with a gap",
        {"dim_customers_history_is_complete"},
        "customers_snapshot dim_customers",
        NEXT_DAY,
        edits=[
            (
                "macros/snapshots/snapshot_versions.sql",
                "dbt_valid_to as valid_to",
                "case when dbt_valid_to < {{ end_of_time() }} then dbt_valid_to - interval '1 hour'"
                " else dbt_valid_to end as valid_to",
            )
        ],
    ),
    Fault(
        "history with versions that overlap",
        {"dim_customers_history_is_complete"},
        "customers_snapshot dim_customers",
        NEXT_DAY,
        edits=[
            (
                "macros/snapshots/snapshot_versions.sql",
                "dbt_valid_to as valid_to",
                "case when dbt_valid_to < {{ end_of_time() }} then dbt_valid_to + interval '1 hour'"
                " else dbt_valid_to end as valid_to",
            )
        ],
    ),
    Fault(
        "history with two current versions",
        {"dim_customers_history_is_complete"},
        "customers_snapshot dim_customers",
        NEXT_DAY,
        edits=[("macros/merged_versions.sql", "max(valid_to) = {{ end_of_time() }} as", "true as")],
    ),
    Fault(
        "history that is numbered backwards",
        {"dim_customers_history_is_complete"},
        "customers_snapshot dim_customers",
        NEXT_DAY,
        edits=[("macros/merged_versions.sql", "by min(valid_from)", "by max(valid_to) desc")],
    ),
    Fault(
        "history whose last version ends",
        {"dim_customers_history_is_complete"},
        "dim_customers",
        "update snapshots.customers_snapshot set dbt_valid_to = dbt_valid_from + interval '1 day'"
        f" where customer_number = {CUSTOMER}",
    ),
    Fault(
        "calendar that ends too early",
        {
            "dim_dates_has_no_gap",
            "fact_orders_parents_exist",
            "fact_payments_parents_exist",
        },
        "int_days_spanned dim_dates",
        edits=[
            (
                "models/intermediate/calendar/int_days_spanned.sql",
                "upper_bound=36525",
                "upper_bound=90",
            )
        ],
    ),
    Fault(
        "wide view without the lines that have no representative",
        {"orders_obt_reconciles_with_fact_orders"},
        "orders_obt",
        edits=[
            (
                "models/marts/core/orders_obt.sql",
                "left join employees on",
                "inner join employees on employees.employee_key <> '-1' and",
            )
        ],
        beside="orders_obt",
    ),
    Fault(
        "days without the sales of one product line",
        {
            "sales_daily_reconciles_with_fact_orders_per_day",
            "sales_by_hour_agrees_with_sales_daily",
        },
        "sales_daily",
        edits=[
            (
                "models/marts/sales/sales_daily.sql",
                "locations on orders.location_key = locations.location_key\n",
                "locations on orders.location_key = locations.location_key\n"
                "    where orders.product_line <> 'Trains'\n",
            )
        ],
        exclude="test_type:unit",
        beside="marts",
    ),
    Fault(
        "hours that no log has told",
        {"hours_of_sales_are_those_of_their_orders"},
        "sales_by_hour",
        edits=[
            (
                "models/marts/sales/sales_by_hour.sql",
                "        is_first_seen_in_log\n        and order_date",
                "        order_date",
            )
        ],
        exclude="test_type:unit",
        beside="marts",
    ),
    Fault(
        "hours of more days than are counted",
        {
            "sales_by_hour_is_of_30_days",
            "sales_by_hour_agrees_with_sales_daily",
            "sales_by_hour_reconciles_with_fact_orders_per_day",
            "hours_of_sales_are_those_of_their_orders",
        },
        "sales_by_hour",
        edits=[
            (
                "models/marts/sales/sales_by_hour.sql",
                "        is_revenue\n        and order_date between {{ as_of_date() }} - 29",
                "        is_revenue\n        and order_date between {{ as_of_date() }} - 39",
            )
        ],
        exclude="test_type:unit",
    ),
    Fault(
        "customers' payments multiplied by their orders",
        {"customer_receivables_reconcile_with_the_facts_per_customer"},
        "customer_receivables",
        edits=[
            (
                "models/marts/finance/customer_receivables.sql",
                "    from payments\n    group by customer_key",
                "    from payments inner join orders using (customer_key)\n"
                "    group by customer_key",
            )
        ],
        exclude="test_type:unit",
        beside="marts",
    ),
    Fault(
        "training data that is there twice",
        {
            "customer_product_interactions_are_unique",
            "customer_product_interactions_reconcile_with_fact_orders_per_product",
        },
        "customer_product_interactions",
        edits=[
            (
                "models/marts/data_science/customer_product_interactions.sql",
                "select * from final",
                "select * from final union all select * from final",
            )
        ],
        exclude="test_type:unit",
        beside="marts",
    ),
    Fault(
        "country spelled twice in the seed",
        {"countries_spelling_is_unique"},
        "countries",
        edits=[("seeds/countries.csv", "Albania,Albania,", "ALGERIA,Albania,")],
        beside="countries",
    ),
    Fault(
        "country without a territory in the seed",
        {"countries_have_a_territory"},
        "countries",
        edits=[("seeds/countries.csv", "Northern Africa,EMEA", "Northern Africa,")],
        beside="countries",
    ),
]

STAGED = {
    "customers": "customers",
    "employees": "employees",
    "offices": "offices",
    "order_details": "orderdetails",
    "orders": "orders",
    "payments": "payments",
    "product_lines": "productlines",
    "products": "products",
}

GHOSTS = [
    Fault(
        f"row gone from the shop that shows up in {model}",
        {"staging_has_every_live_row"},
        f"stg_classicmodels__{model}",
        # What the loader does with a row that is gone.
        f"update {table} set _deleted_at = _loaded_at;"
        f"update _load_tables set rows_live = 0 where table_name = '{table}'",
        edits=[
            (
                f"models/staging/classicmodels/stg_classicmodels__{model}.sql",
                "    where _deleted_at is null\n",
                "",
            )
        ],
    )
    for model, table in STAGED.items()
]


# Entries of the seed: test, row and last day. Only the first two hold and meet a bad row.
ENTRIES = (
    ("order_prices_are_not_negative", "order_number=10100; order_line_number=1", "2999-12-31"),
    ("shipped_orders_have_a_shipping_date", "order_number=10101", "2999-12-31"),
    ("order_quantities_are_positive", "order_number=10100; order_line_number=1", "2026-01-01"),
    ("order_statuses_are_known", "order_number=10101", "2999-12-31"),
    ("cancelled_orders_were_not_shipped", "colour=red", "2999-12-31"),
)
BAD_ROWS = (
    "update orderdetails set priceeach = -1, quantityordered = 0"
    " where ordernumber = 10100 and orderlinenumber = 1;"
    "update orders set status = 'Shipped', shippeddate = null where ordernumber = 10101"
)


def accepting(*entries: tuple[str, str, str]) -> list[tuple[str, str, str]]:
    """The edit that puts entries into the seed."""
    head = "accepted_until\n"
    lines = "".join(f"{test},{row},It is known,Ann,{until}\n" for test, row, until in entries)
    return [("seeds/accepted_rows.csv", head, head + lines)]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("project"), as_of=DAY)


@pytest.fixture(scope="module")
def duckdb_built(project: Project, built: BuiltWarehouses) -> Warehouse:
    """The sample shop, loaded, built and green."""
    return kept(built.copy("duckdb", "new", "faults", project.folder))


@pytest.fixture(scope="module")
def postgres_built(project: Project, built: BuiltWarehouses) -> Warehouse:
    return kept(built.copy("postgres", "new", "faults", project.folder))


def kept(copy: Copy) -> Warehouse:
    copy.warehouse.keep()
    return copy.warehouse


def assert_named(faults: Sequence[Fault], project: Project, warehouse: Warehouse) -> Outcome:
    """Plant faults in what was green: dbt fails, and for the reasons that it should."""
    warehouse.restore()
    for number, fault in enumerate(faults):
        if fault.sql:
            warehouse.query(fault.sql.replace("offset 0", f"offset {number}"))
    # Facts look at what the loader stamped or a version brought; a fault comes without either.
    arguments = ["build", "--full-refresh"]
    arguments += ["--select", *(name for fault in faults for name in fault.select.split())]
    arguments += ["--exclude", *faults[0].exclude.split()]
    with project.edited([edit for fault in faults for edit in fault.edits]):
        outcome = project.dbt(warehouse, *arguments)
    fails = {name for fault in faults for name in fault.fails}
    warns = {name for fault in faults for name in fault.warns}
    assert outcome.failed == fails
    assert outcome.green == (not fails)
    assert outcome.warned == (warns or outcome.warned)
    return outcome


@pytest.mark.parametrize("faults", together(ARRIVALS), ids=named)
def test_fault_in_what_arrives_is_named(
    faults: list[Fault], project: Project, duckdb_built: Warehouse
) -> None:
    assert_named(faults, project, duckdb_built)


@pytest.mark.parametrize("faults", together(ODDITIES), ids=named)
def test_what_is_odd_is_a_warning(
    faults: list[Fault], project: Project, duckdb_built: Warehouse
) -> None:
    assert_named(faults, project, duckdb_built)


def test_row_that_is_accepted_is_left_out(project: Project, duckdb_built: Warehouse) -> None:
    staged = ("stg_classicmodels__orders", "stg_classicmodels__order_details")
    duckdb_built.restore()
    duckdb_built.query(BAD_ROWS)
    with project.edited(accepting(*ENTRIES)):
        outcome = project.dbt(
            duckdb_built,
            *("build", "--select", "accepted_rows", *staged),
            *("--exclude", "path:tests/singular/marts", "test_type:unit"),
        )
    fine, expired, unmet, nameless = ENTRIES[:2], ENTRIES[2][0], ENTRIES[3][0], ENTRIES[4][0]
    assert [outcome.statuses[name] for name, *_ in fine] == ["pass", "pass"]
    assert outcome.failed == {expired, unmet, nameless}
    assert (
        "order_number=10101 of order_statuses_are_known matches no row" in outcome.messages[unmet]
    )
    assert (
        "colour=red of cancelled_orders_were_not_shipped names a column"
        in (outcome.messages[nameless])
    )


# Tests of raw tables and seeds can run while the seed is written, so none of them asks it.
@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("orders_are_nice", "order_number=10101"),
        ("last_load_succeeded", "batch_id=no"),
        ("countries_are_complete", "country_name=no"),
    ],
)
def test_row_cannot_be_accepted_for_a_test_that_takes_no_entry(
    name: str, key: str, project: Project, duckdb_built: Warehouse
) -> None:
    duckdb_built.restore()
    with project.edited(accepting((name, key, "2999-12-31"))):
        outcome = project.dbt(
            duckdb_built, "build", "--select", "accepted_rows", "countries", "source:load_audit"
        )
    assert outcome.failed == {"accepted_rows_name_a_test"}


@pytest.mark.parametrize("faults", side_by_side(CHANGES), ids=named)
def test_fault_in_the_project_is_named(
    faults: list[Fault], project: Project, duckdb_built: Warehouse
) -> None:
    assert_named(faults, project, duckdb_built)


def test_rows_that_are_gone_are_missed_in_staging(
    project: Project, duckdb_built: Warehouse
) -> None:
    """The test has a row for each model in which they still are."""
    outcome = assert_named(GHOSTS, project, duckdb_built)
    assert outcome.messages["staging_has_every_live_row"].startswith(f"Got {len(GHOSTS)} results")


ON_POSTGRES = {
    "product line twice",
    "order line whose order is gone",
    "key that is null",
    "money that became a float and is no longer of whole cents",
    "country that is not in the seed",
    "fan-out of a join on postal code alone",
    "revenue that counts cancelled lines",
    "money as a float in a mart",
}


@pytest.mark.long
@pytest.mark.parametrize(
    "fault", [fault for fault in [*ARRIVALS, *CHANGES] if fault.name in ON_POSTGRES], ids=str
)
def test_fault_is_named_on_postgres(
    fault: Fault, project: Project, postgres_built: Warehouse
) -> None:
    assert_named([fault], project, postgres_built)


def test_stray_dates_do_not_let_marts_grow(project: Project, duckdb_built: Warehouse) -> None:
    def sizes() -> list[int]:
        return [
            duckdb_built.query(f"select count(*) from marts.{mart}")[0][0]
            for mart in ("sales_daily", "dim_dates", "payments_monthly")
        ]

    def through() -> list[tuple[date]]:
        return duckdb_built.query("select data_through_date from intermediate.int_data_through")

    duckdb_built.restore()
    days, calendar, months = sizes()
    before = through()
    duckdb_built.query(
        f"update orders set orderdate = '1970-01-01' where ordernumber = {ORDER};"
        f"update orders set shippeddate = '2062-01-01' where ordernumber = {SHIPPED} + 1;"
        f"update payments set paymentdate = '1969-12-31' where checknumber = {CHECK}"
    )
    (lines,) = duckdb_built.query(f"select count(*) from orderdetails where ordernumber = {ORDER}")
    # Without the tests, which stop the build before these.
    marts = ("int_data_through", "int_days_spanned", "dim_dates", "fact_orders", "fact_payments")
    outcome = project.dbt(
        duckdb_built,
        *("run", "--full-refresh", "--select", *marts, "sales_daily", "payments_monthly"),
    )
    assert outcome.green, outcome
    assert through() == before
    now = sizes()
    assert now[0] <= days + lines[0]
    assert now[1] == calendar + 3
    assert now[2] <= months + 2
    for mart, fact, amount in (
        ("sales_daily", "fact_orders", "revenue_amount"),
        ("payments_monthly", "fact_payments", "payment_amount"),
    ):
        sums = [
            duckdb_built.query(f"select sum({amount}) from marts.{table}") for table in (mart, fact)
        ]
        assert sums[0] == sums[1]


def test_product_line_that_is_there_twice_makes_no_versions(
    project: Project, duckdb_built: Warehouse
) -> None:
    duckdb_built.restore()
    versions = "select count(*) from snapshots.product_lines_snapshot"
    versions += " union all select count(*) from marts.dim_products"
    before = duckdb_built.query(versions)
    duckdb_built.query(
        a_copy(
            "productlines",
            "productline = 'Ships'",
            productline="'Ships '",
            _loaded_at="_loaded_at + interval '1 day'",
        )
        + ";update productlines set textdescription = 'Other' where productline = 'Ships '"
    )
    for _ in range(2):
        duckdb_built.query("update _load_runs set started_at = started_at + interval '1 day'")
        built = ("build", "--select", "product_lines_snapshot", "dim_products")
        assert project.dbt(duckdb_built, *built, "--exclude-resource-type", "unit_test").green
        assert duckdb_built.query(versions) == before


# -- what the loader says of itself ---------------------------------------------------------------


@pytest.fixture(params=["duckdb", pytest.param("postgres", marks=pytest.mark.long)])
def warehouse(request: pytest.FixtureRequest) -> Warehouse:
    """Each warehouse as it was built."""
    found: Warehouse = request.getfixturevalue(f"{request.param}_built")
    found.restore()
    return found


def test_load_that_failed_is_named(project: Project, warehouse: Warehouse, tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "empty.sqlite").close()
    with pytest.raises(LoadError):
        warehouse.load(f"sqlite:///{tmp_path / 'empty.sqlite'}")
    outcome = project.dbt(warehouse, "test", "--select", "tests/singular/raw")
    assert outcome.failed == {"last_load_succeeded"}


def test_value_that_could_not_be_kept_is_a_warning(
    project: Project, warehouse: Warehouse, tmp_path: Path
) -> None:
    path = tmp_path / "shop.sqlite"
    shutil.copyfile(shop("new"), path)
    with sqlite3.connect(path) as connection:
        connection.execute("update orders set shippedDate = '0000-00-00' where orderNumber = 10100")
    assert warehouse.load(f"sqlite:///{path}").issue_count == 1
    outcome = project.dbt(warehouse, "test", "--select", "tests/singular/raw")
    assert outcome.green
    assert outcome.warned == {"last_load_lost_no_value"}


def end_loads(warehouse: Warehouse, hours: int) -> None:
    """Let all loads have ended so many hours ago."""
    moment = datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=hours)
    warehouse.query(
        f"update _load_runs set finished_at = cast('{moment}' as timestamp),"
        f" started_at = cast('{moment}' as timestamp) - interval '1 minute'"
    )


@pytest.mark.parametrize(
    ("hours", "status", "green"), [(25, "pass", True), (27, "warn", True), (51, "error", False)]
)
def test_age_of_the_last_load_decides_freshness(
    hours: int, status: str, green: bool, project: Project, warehouse: Warehouse
) -> None:
    end_loads(warehouse, hours)
    outcome = project.dbt(warehouse, "source", "freshness")
    assert outcome.green == green
    assert outcome.statuses == dict.fromkeys(STAGED.values(), status)


def test_table_that_is_left_out_of_loads_is_not_fresh(
    project: Project, warehouse: Warehouse
) -> None:
    end_loads(warehouse, 3 * 24)
    warehouse.load(f"sqlite:///{shop('new')}", exclude=["payments"])
    assert project.dbt(warehouse, "source", "freshness").failed == {"payments"}


# -- the tests themselves -------------------------------------------------------------------------


def ruin(warehouse: Warehouse) -> None:
    """Add rows to every table that no test may let pass: of nulls, and of nonsense, twice."""
    columns = warehouse.query(
        "select schema_name || '.' || table_name, column_name, data_type from duckdb_columns()"
        f" where schema_name in ('{RAW_SCHEMA}', 'seeds', 'intermediate', 'marts') and not internal"
        " and table_oid in (select table_oid from duckdb_tables())"
        " and not starts_with(table_name, '_load') order by table_oid, column_index"
    )
    statements = []
    for number, (name, found) in enumerate(groupby(columns, key=itemgetter(0)), start=1):
        kinds = {column: kind for _, column, kind in found}
        statements += [f"alter table {name} alter {column} drop not null" for column in kinds]
        values = ", ".join(nonsense(*kind, -number, name) for kind in kinds.items())
        nulls = ", ".join(["null"] * len(kinds))
        statements.append(f"insert into {name} values ({values}), ({values}), ({nulls})")
    warehouse.query(";".join(statements))


def nonsense(column: str, kind: str, number: int, table: str) -> str:
    """A value that stands in no other table and in no list, before any day or after all."""
    if column == "_deleted_at":
        return "null"
    if kind == "DATE":
        return (
            "date '2999-12-30'" if column in ("orderdate", "paymentdate") else "date '1900-01-02'"
        )
    if kind == "TIMESTAMP":
        return "timestamp '2000-01-01'"
    if kind == "BOOLEAN":
        return "true"
    return f"'{table}'" if kind in ("VARCHAR", "BLOB") else str(number)


def test_every_data_test_can_fail(project: Project, duckdb_built: Warehouse) -> None:
    proven = {"last_load_succeeded", "last_load_lost_no_value", "accepted_rows_name_a_test"}
    for fault in [*ARRIVALS, *ODDITIES, *CHANGES, *GHOSTS]:
        proven |= fault.fails | fault.warns
    duckdb_built.restore()
    ruin(duckdb_built)
    outcome = project.dbt(duckdb_built, "test", "--exclude", "test_type:unit")
    passed = {name for name, status in outcome.statuses.items() if status == "pass"}
    assert sorted(passed - proven) == [], "plant a fault that these find, or remove them"
