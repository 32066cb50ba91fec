"""The eight tables of the shop: names, columns, types and keys, as in MySQL's `classicmodels`."""

from dataclasses import dataclass
from typing import Literal

Dialect = Literal["sqlite", "mysql", "postgresql"]

# Names of types in databases that do not have MySQL's name.
POSTGRESQL_TYPES = {"int": "integer", "mediumtext": "text", "mediumblob": "bytea"}


@dataclass(frozen=True)
class Column:
    """A column; `type` is spelled as MySQL spells it."""

    name: str
    type: str
    nullable: bool = False


@dataclass(frozen=True)
class ForeignKey:
    """`column` of the table refers to `target_column`, the primary key of `target`."""

    column: str
    target: str
    target_column: str


@dataclass(frozen=True)
class Table:
    """A table with its keys."""

    name: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]
    foreign_keys: tuple[ForeignKey, ...] = ()

    @property
    def column_list(self) -> str:
        """The quoted column names, separated by commas."""
        return quoted(*(column.name for column in self.columns))

    def create_sql(self, dialect: Dialect) -> str:
        """The `create table`; its foreign keys are part of it on SQLite, which cannot add them."""
        parts = [
            f'"{column.name}" {type_name(column.type, dialect)}'
            f"{'' if column.nullable else ' not null'}"
            for column in self.columns
        ]
        parts.append(f"primary key ({quoted(*self.primary_key)})")
        if dialect == "sqlite":
            parts += [foreign_key_sql(key) for key in self.foreign_keys]
        options = " engine = InnoDB default charset = utf8mb4" if dialect == "mysql" else ""
        body = ",\n    ".join(parts)
        return f'create table "{self.name}" (\n    {body}\n){options}'

    def after_load_sql(self, dialect: Dialect) -> list[str]:
        """Indexes and foreign keys, which are cheaper to make over rows that are already there."""
        indexes = [
            f'create index "{self.name}_{key.column}" on "{self.name}" ("{key.column}")'
            for key in self.foreign_keys
            if key.column != self.primary_key[0]
        ]
        constraints = [
            f'add constraint "{self.name}_{key.column}_fkey" {foreign_key_sql(key)}'
            for key in self.foreign_keys
        ]
        if dialect == "sqlite" or not constraints:
            return indexes
        return [*indexes, f'alter table "{self.name}" {", ".join(constraints)}']


def quoted(*names: str) -> str:
    """The names in double quotes (MySQL sessions here run with ANSI_QUOTES)."""
    return ", ".join(f'"{name}"' for name in names)


def type_name(type_: str, dialect: Dialect) -> str:
    """The type as `dialect` spells it."""
    return POSTGRESQL_TYPES.get(type_, type_) if dialect == "postgresql" else type_


def foreign_key_sql(key: ForeignKey) -> str:
    """The clause both `create table` and `alter table add` understand."""
    return f'foreign key ("{key.column}") references "{key.target}" ("{key.target_column}")'


# Parents before children: the order in which they are created; dropping goes backwards.
TABLES = {
    table.name: table
    for table in (
        Table(
            "offices",
            (
                Column("officeCode", "varchar(10)"),
                Column("city", "varchar(50)"),
                Column("phone", "varchar(50)"),
                Column("addressLine1", "varchar(50)"),
                Column("addressLine2", "varchar(50)", nullable=True),
                Column("state", "varchar(50)", nullable=True),
                Column("country", "varchar(50)"),
                Column("postalCode", "varchar(15)"),
                Column("territory", "varchar(10)"),
            ),
            ("officeCode",),
        ),
        Table(
            "employees",
            (
                Column("employeeNumber", "int"),
                Column("lastName", "varchar(50)"),
                Column("firstName", "varchar(50)"),
                Column("extension", "varchar(10)"),
                Column("email", "varchar(100)"),
                Column("officeCode", "varchar(10)"),
                Column("reportsTo", "int", nullable=True),
                Column("jobTitle", "varchar(50)"),
            ),
            ("employeeNumber",),
            (
                ForeignKey("reportsTo", "employees", "employeeNumber"),
                ForeignKey("officeCode", "offices", "officeCode"),
            ),
        ),
        Table(
            "productlines",
            (
                Column("productLine", "varchar(50)"),
                Column("textDescription", "varchar(4000)", nullable=True),
                Column("htmlDescription", "mediumtext", nullable=True),
                Column("image", "mediumblob", nullable=True),
            ),
            ("productLine",),
        ),
        Table(
            "products",
            (
                Column("productCode", "varchar(15)"),
                Column("productName", "varchar(70)"),
                Column("productLine", "varchar(50)"),
                Column("productScale", "varchar(10)"),
                Column("productVendor", "varchar(50)"),
                Column("productDescription", "text"),
                Column("quantityInStock", "smallint"),
                Column("buyPrice", "decimal(10,2)"),
                Column("MSRP", "decimal(10,2)"),
            ),
            ("productCode",),
            (ForeignKey("productLine", "productlines", "productLine"),),
        ),
        Table(
            "customers",
            (
                Column("customerNumber", "int"),
                Column("customerName", "varchar(50)"),
                Column("contactLastName", "varchar(50)"),
                Column("contactFirstName", "varchar(50)"),
                Column("phone", "varchar(50)"),
                Column("addressLine1", "varchar(50)"),
                Column("addressLine2", "varchar(50)", nullable=True),
                Column("city", "varchar(50)"),
                Column("state", "varchar(50)", nullable=True),
                Column("postalCode", "varchar(15)", nullable=True),
                Column("country", "varchar(50)"),
                Column("salesRepEmployeeNumber", "int", nullable=True),
                Column("creditLimit", "decimal(10,2)", nullable=True),
            ),
            ("customerNumber",),
            (ForeignKey("salesRepEmployeeNumber", "employees", "employeeNumber"),),
        ),
        Table(
            "orders",
            (
                Column("orderNumber", "int"),
                Column("orderDate", "date"),
                Column("requiredDate", "date"),
                Column("shippedDate", "date", nullable=True),
                Column("status", "varchar(15)"),
                Column("comments", "text", nullable=True),
                Column("customerNumber", "int"),
            ),
            ("orderNumber",),
            (ForeignKey("customerNumber", "customers", "customerNumber"),),
        ),
        Table(
            "orderdetails",
            (
                Column("orderNumber", "int"),
                Column("productCode", "varchar(15)"),
                Column("quantityOrdered", "int"),
                Column("priceEach", "decimal(10,2)"),
                Column("orderLineNumber", "smallint"),
            ),
            ("orderNumber", "productCode"),
            (
                ForeignKey("orderNumber", "orders", "orderNumber"),
                ForeignKey("productCode", "products", "productCode"),
            ),
        ),
        Table(
            "payments",
            (
                Column("customerNumber", "int"),
                Column("checkNumber", "varchar(50)"),
                Column("paymentDate", "date"),
                Column("amount", "decimal(10,2)"),
            ),
            ("customerNumber", "checkNumber"),
            (ForeignKey("customerNumber", "customers", "customerNumber"),),
        ),
    )
}
