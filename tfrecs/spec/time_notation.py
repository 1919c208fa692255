"""Keys of the spec that say how times are written: formats and zones, checked where the spec is read."""

from __future__ import annotations

import difflib
import re
from datetime import datetime, timezone
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import AfterValidator


def _readable_format(layout: str) -> str:
    moment = datetime(2024, 3, 21, 10, 30, tzinfo=timezone.utc)
    try:
        read = datetime.strptime(moment.strftime(layout), layout)
    except (ValueError, re.error) as error:
        raise ValueError(f"{layout!r} is no strptime format ({error}); such as '%d/%m/%Y %H:%M'") from None
    if read.date() != moment.date():
        raise ValueError(f"{layout!r} does not give day, month and year; such as '%d/%m/%Y %H:%M'")
    return layout


def _known_zone(zone: str) -> str:
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        near = difflib.get_close_matches(zone, available_timezones(), n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"no time zone {zone!r}; {hint}IANA names are expected, such as Europe/Berlin") from None
    return zone


TimeFormat = Annotated[str, AfterValidator(_readable_format)]
TimeZone = Annotated[str, AfterValidator(_known_zone)]
