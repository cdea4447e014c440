"""Experiments listed: what they show, what is done, what they cost, the settings of their runs."""

from snlib.listing.settings import settings
from snlib.listing.state import evidence
from snlib.listing.table import table, time

__all__ = ["evidence", "settings", "table", "time"]
