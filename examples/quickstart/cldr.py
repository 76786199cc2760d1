"""One language's CLDR names and formatters, as far as the quickstart's corpus needs them.

Everything here prints what CLDR prints; the machine's locale, time zone and clock play no part.
"""

from __future__ import annotations

import datetime
import re
from decimal import Decimal

from babel import Locale
from babel.dates import format_time
from babel.lists import format_list
from babel.numbers import format_currency, format_decimal
from babel.units import format_unit

TABLES = ("territories", "languages", "scripts", "currencies")
# Placeholders for missing or unknown values: they name nothing.
NOT_NAMES = {"ZZ", "XA", "XB", "und", "mul", "mis", "zxx", "Zzzz", "Zxxx", "XXX", "XTS"}
NOT_PLACES = {"EU", "EZ", "QO", "UN"}  # unions and remainders: no clock shows their time


def clean(text: str) -> str:
    """Returns `text` on one line with plain single spaces (CLDR uses U+00A0, U+2009 and U+202F)."""
    return re.sub(r"\s+", " ", text.replace("\u200e", "").replace("\u200f", "")).strip()


class Language:
    """One language's names and formatters."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.locale = Locale.parse(code)
        self.data = self.locale._data  # Babel has no public access to "per" and relative-time patterns
        self.names = {table: dict(getattr(self.locale, table)) for table in TABLES}
        self.names["zones"] = {
            f"{zone}/{variant}": widths["long"][variant]
            for zone, widths in self.locale.meta_zones.items()
            for variant in ("generic", "standard", "daylight")
            if variant in widths.get("long", {})
        }
        region = self.locale.zone_formats["region"]
        self.names["zones"].update(
            (f"region/{code}", region % name)
            for code, name in self.names["territories"].items()
            if len(code) == 2 and "(" not in name and code not in NOT_NAMES | NOT_PLACES
        )
        self.units = {unit: patterns for unit in self.data["unit_patterns"] if (patterns := self._long(unit))}
        # English counts hours to 12, German and French to 24: each language keeps its own clock.
        self.clock = "hm" if "a" in self.locale.time_formats["short"].pattern else "Hm"

    def _long(self, unit: str) -> dict[str, str] | None:
        widths = self.data["unit_patterns"][unit]
        patterns = dict(widths["long"]) if "long" in widths else {}
        return patterns if "one" in patterns and "other" in patterns else None

    def join(self, texts: list[str], style: str) -> str:
        return format_list(texts, style=style, locale=self.locale)

    def amount(self, number: Decimal | int, currency: str) -> str:
        pattern = "#,##0" if isinstance(number, int) else "#,##0.00"
        return format_currency(
            number, currency, pattern, locale=self.locale, format_type="name", currency_digits=False
        )

    def measure(self, number: Decimal | int, unit: str) -> str:
        return format_unit(number, unit, length="long", locale=self.locale)

    def per(self, text: str, unit: str) -> str:
        return self.units[unit]["per"].format(text)

    def relative(self, field: str, direction: str, number: int) -> str:
        patterns = self.data["date_fields"][field][direction]
        pattern = patterns.get(self.locale.plural_form(number)) or patterns["other"]
        return pattern.format(format_decimal(number, locale=self.locale))

    def glue(self, date: str, time: str) -> str:
        return self.locale.datetime_formats["full"].replace("{1}", date).replace("{0}", time)

    def time_with_zone(self, time: datetime.time, zone: str) -> str:
        # The zone's name is filled in as text: looking it up would read the machine's time zone files.
        pattern = self.locale.time_formats["full"].pattern.replace("zzzz", "'@'")
        return format_time(time, pattern, locale=self.locale).replace("@", self.names["zones"][zone])

    def locale_name(self, language: str, *parts: tuple[str, str]) -> str:
        inside = ", ".join(self.names[table][code] for table, code in parts)
        return f"{self.names['languages'][language]} ({inside})"  # as Babel's Locale.get_display_name
