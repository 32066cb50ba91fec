"""`python -m loader`."""

from .cli import run

run()
