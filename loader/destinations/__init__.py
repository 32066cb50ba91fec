"""Destinations: each stages rows, reads them back, and publishes all tables in one transaction."""

from .base import Changes, Destination, Stamp, Within

__all__ = ["Changes", "Destination", "Stamp", "Within"]
