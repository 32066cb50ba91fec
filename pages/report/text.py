"""How the report writes numbers and days, the same everywhere."""

from __future__ import annotations

from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal

MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
MINUS = "\N{MINUS SIGN}"
NONE = "\N{EN DASH}"  # the value, or the earlier value, is not known
SIZES = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "k"))

Number = int | Decimal


def money(amount: Number | None) -> str:
    """An amount to the cent: 1,234.50."""
    return NONE if amount is None else f"{amount:,.2f}".replace("-", MINUS)


def whole(count: Number | None) -> str:
    """A count: 1,234."""
    return NONE if count is None else f"{count:,}".replace("-", MINUS)


def signed(amount: Number | None) -> str:
    """A difference of amounts, to the cent, with its sign; no difference is 0.00."""
    return f"+{money(amount)}" if amount and amount > 0 else money(amount)


def signed_whole(count: Number | None) -> str:
    """A difference of counts, with its sign."""
    return f"+{whole(count)}" if count and count > 0 else whole(count)


def percent_of(part: Number, whole: Number) -> Decimal | None:
    """A part in percent, rounded to tenths, halves away from zero; None where whole <= 0."""
    if whole <= 0:
        return None
    share = Decimal(part) * 100 / Decimal(whole)
    return share.quantize(Decimal("0.1"), ROUND_HALF_UP)


def percent(share: Decimal | None) -> str:
    """A percentage: 12.3 %."""
    return NONE if share is None else f"{share:,.1f}\N{NO-BREAK SPACE}%".replace("-", MINUS)


def signed_percent(share: Decimal | None) -> str:
    """A change in percent, with its sign: +12.3 %."""
    return f"+{percent(share)}" if share and share > 0 else percent(share)


def compact(number: float) -> str:
    """A round number on an axis: 250k, 1.5M."""
    for size, letter in SIZES:
        if abs(number) >= size:
            return f"{number / size:g}{letter}".replace("-", MINUS)
    return f"{number:g}".replace("-", MINUS)


def day(value: date | None) -> str:
    """A day: 9 Nov 2026."""
    return NONE if value is None else f"{value.day} {MONTHS[value.month - 1]} {value.year}"


def short_day(value: date) -> str:
    """A day on an axis, without its year: 9 Nov."""
    return f"{value.day} {MONTHS[value.month - 1]}"


def month(value: date | None) -> str:
    """A month: Nov 2026; None stands for what has no date."""
    return "Without a date" if value is None else f"{MONTHS[value.month - 1]} {value.year}"


def moment(value: datetime | None) -> str:
    """A moment in UTC: 9 Nov 2026, 16:05 UTC."""
    return NONE if value is None else f"{day(value)}, {value:%H:%M} UTC"


def hour(value: int | None) -> str:
    """An hour of the day: 09:00; None is an hour that is not known."""
    return "Not known" if value is None else f"{value:02}:00"


def counted(number: int, one: str, several: str) -> str:
    """A count with its word: 1 day, 12 days."""
    return f"{whole(number)} {one if number == 1 else several}"


def code(value: object) -> str:
    """The shop's number or code for something; None is written as a dash."""
    return NONE if value is None else str(value)


def name(value: str | None) -> str:
    """A name from the shop, which may be missing."""
    return value if value and value.strip() else "(no name)"
