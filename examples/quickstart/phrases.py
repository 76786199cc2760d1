"""Phrases in two languages, composed from the CLDR data that Babel carries.

Every word comes from CLDR names and every arrangement from a CLDR pattern (lists, amounts, units, "per",
dates, intervals, date with time, relative time), so both sides of a pair are what CLDR itself would print.
A phrase is described once, without a language, as a :class:`Thing` and then rendered in both.
"""

from __future__ import annotations

import datetime
import random
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import NamedTuple

from babel.dates import format_date, format_interval, format_skeleton, format_time
from babel.numbers import get_currency_precision
from cldr import NOT_NAMES, Language, clean

# What is commonly counted per what, as CLDR's categories of units.
PER = {
    "length": ("duration",),
    "mass": ("duration", "volume", "area"),
    "volume": ("duration", "area", "mass"),
    "energy": ("duration", "mass", "volume"),
    "digital": ("duration",),
    "power": ("area", "mass", "volume"),
    "currency": ("duration", "area", "length", "mass", "volume"),
}
RELATIVE = ("year", "quarter", "month", "week", "day", "hour", "minute")
RELATIVE += ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


class Phrase(NamedTuple):
    """One pair. `atoms` are the names, numbers and patterns it is made of."""

    kind: str
    source: str
    target: str
    atoms: tuple[str, ...]


class Thing(NamedTuple):
    """What to say, before any language: the atoms, and a function that says it in one language."""

    atoms: tuple[str, ...]
    say: Callable[[Language], str]


class Composer:
    """Draws phrases of every kind in a source and a target language.

    Args:
        source: CLDR code of the source language.
        target: CLDR code of the target language.
        rng: the only source of chance.
    """

    def __init__(self, source: str, target: str, rng: random.Random) -> None:
        self.source, self.target, self.rng = Language(source), Language(target), rng
        a, b = self.source, self.target
        self.codes = {table: self._shared(table) for table in a.names}
        # CLDR's display names would need brackets in place of inner parentheses: leave those names out.
        self.plain = {
            table: [c for c in codes if not any("(" in side.names[table][c] for side in (a, b))]
            for table, codes in self.codes.items()
        }
        both = sorted(a.units.keys() & b.units.keys())
        self.units = [unit for unit in both if not unit.endswith("-person") and "generic" not in unit]
        self.pers = [unit for unit in self.units if all(self._spells_per(side, unit) for side in (a, b))]
        self.kinds: dict[str, Callable[[], Thing]] = {
            "territories": lambda: self.some(lambda: self.name("territories"), 2, 5),
            "languages": lambda: self.some(lambda: self.name("languages"), 2, 5),
            "scripts": lambda: self.some(lambda: self.name("scripts"), 2, 5),
            "currencies": lambda: self.some(lambda: self.name("currencies"), 2, 3),
            "zones": lambda: self.some(lambda: self.name("zones"), 2, 3),
            "locales": lambda: self.some(self.locale, 1, 3),
            "amounts": lambda: self.some(self.amount, 1, 3),
            "measures": lambda: self.some(self.measure, 1, 3),
            "rates": lambda: self.some(self.rate, 1, 2),
            "relative": lambda: self.some(self.relative, 1, 3),
            "periods": lambda: self.some(self.period, 1, 3),
            "dates": lambda: self.some(self.date, 1, 2),
            "moments": self.moment,
            "intervals": self.interval,
        }

    @staticmethod
    def _spells_per(side: Language, unit: str) -> bool:
        # A few units have only a symbol here ("{0}/q"); nothing but a price is counted per night.
        return "/" not in side.units[unit].get("per", "/") and unit != "duration-night"

    def _shared(self, table: str) -> list[str]:
        """Codes named in both languages; of several with one source name (Peru Time) the first."""
        names = self.source.names[table]
        first: dict[str, str] = {}
        for code in sorted(names.keys() & self.target.names[table].keys() - NOT_NAMES):
            first.setdefault(clean(names[code]), code)
        return list(first.values())

    def phrase(self, kind: str) -> Phrase:
        """Draws one phrase of `kind` (a key of `kinds`)."""
        return self._render(kind, self.kinds[kind]())

    def all_names(self) -> Iterator[Phrase]:
        """Yields every single name, as phrases of the kind `names`."""
        for table, codes in self.codes.items():
            for code in codes:
                yield self._render("names", self._named(table, code))

    def _render(self, kind: str, thing: Thing) -> Phrase:
        return Phrase(kind, clean(thing.say(self.source)), clean(thing.say(self.target)), thing.atoms)

    def _named(self, table: str, code: str) -> Thing:
        return Thing((f"{table}:{code}",), lambda side: side.names[table][code])

    def some(self, draw: Callable[[], Thing], least: int, most: int) -> Thing:
        """A list of `least` to `most` different things, with "and" or "or"; one thing stands alone."""
        things: list[Thing] = []
        wanted = self.rng.randrange(least, most + 1)
        while len(things) < wanted:
            thing = draw()
            if all(thing.atoms != other.atoms for other in things):
                things.append(thing)
        if wanted == 1:
            return things[0]
        style = self.rng.choice(("standard", "or"))
        atoms = tuple(atom for thing in things for atom in thing.atoms)
        return Thing(
            (f"list:{style}:{wanted}", *atoms),
            lambda side: side.join([thing.say(side) for thing in things], style),
        )

    def name(self, table: str) -> Thing:
        return self._named(table, self.rng.choice(self.codes[table]))

    def locale(self) -> Thing:
        language = self.rng.choice(self.plain["languages"])
        parts = [(table, self.rng.choice(self.plain[table])) for table in ("scripts", "territories")]
        parts = self.rng.choice((parts, parts[:1], parts[1:]))
        atoms = (f"languages:{language}", *(f"{table}:{code}" for table, code in parts))
        return Thing((f"locale:{len(parts)}", *atoms), lambda side: side.locale_name(language, *parts))

    def number(self) -> Decimal | int:
        draw = self.rng.random()
        if draw < 0.55:
            return self.rng.randrange(1, 100)
        if draw < 0.8:
            return Decimal(self.rng.randrange(20) * 10 + self.rng.choice((2, 4, 5, 6, 8))) / 10
        return self.rng.choice((50, 100, 250, 1000)) * self.rng.randrange(2, 20)

    def amount(self) -> Thing:
        currency = self.rng.choice(self.codes["currencies"])
        number = self.number()
        if isinstance(number, Decimal):
            cents = int(number) * 100 + self.rng.choice((25, 50, 75, 95, 99))
            number = Decimal(cents) / 100 if get_currency_precision(currency) == 2 else int(number) + 1
        return Thing(
            (f"number:{number}", f"currencies:{currency}"), lambda side: side.amount(number, currency)
        )

    def measure(self, units: list[str] | None = None) -> Thing:
        unit, number = self.rng.choice(units or self.units), self.number()
        return Thing((f"number:{number}", f"unit:{unit}"), lambda side: side.measure(number, unit))

    def rate(self) -> Thing:
        """Money or a measure per unit: "12.5 liters per day"."""
        category = self.rng.choice(("currency", *PER))  # money twice as often
        if category == "currency":
            counted = self.amount()
        else:
            counted = self.measure([unit for unit in self.units if unit.startswith(category)])
        unit = self.rng.choice([unit for unit in self.pers if unit.split("-")[0] in PER[category]])
        return Thing((*counted.atoms, f"per:{unit}"), lambda side: side.per(counted.say(side), unit))

    def relative(self) -> Thing:
        field, direction = self.rng.choice(RELATIVE), self.rng.choice(("future", "past"))
        number = self.rng.randrange(1, 60)
        return Thing(
            (f"number:{number}", f"relative:{field}:{direction}"),
            lambda side: side.relative(field, direction, number),
        )

    def day(self) -> datetime.date:
        return datetime.date(1950, 1, 1) + datetime.timedelta(days=self.rng.randrange(30000))

    @staticmethod
    def day_atoms(day: datetime.date) -> tuple[str, ...]:
        return f"year:{day.year}", f"month:{day.month}", f"day:{day.day}"

    def period(self) -> Thing:
        """A month, quarter, month of an era, or day of any year: "1st quarter 2024"."""
        day, skeleton = self.day(), self.rng.choice(("yMMMM", "yQQQQ", "GyMMM", "MMMMd"))
        when = datetime.datetime.combine(day, datetime.time())
        year, month, number = self.day_atoms(day)
        atoms = {
            "yQQQQ": (year, f"quarter:{(day.month + 2) // 3}"),
            "MMMMd": (month, number),
        }.get(skeleton, (year, month))
        return Thing(
            (f"period:{skeleton}", *atoms), lambda side: format_skeleton(skeleton, when, locale=side.locale)
        )

    def date(self) -> Thing:
        day, width = self.day(), self.rng.choice(("full", "long"))
        atoms = (f"date:{width}", *self.day_atoms(day))
        if width == "full":
            atoms += (f"weekday:{day.weekday()}",)
        return Thing(atoms, lambda side: format_date(day, width, locale=side.locale))

    def time(self, step: int) -> datetime.time:
        minutes = self.rng.randrange(0, 24 * 60, step)
        return datetime.time(minutes // 60, minutes % 60)

    def moment(self) -> Thing:
        """A date and a time, half of them with a time zone."""
        date = self.date()
        if self.rng.random() < 0.5:
            time = self.time(15)
            zone = self.rng.choice([code for code in self.codes["zones"] if code.endswith("/standard")])
            return Thing(
                (*date.atoms, f"time:full:{time}", f"zones:{zone}"),
                lambda side: side.glue(date.say(side), side.time_with_zone(time, zone)),
            )
        time = self.time(5)
        return Thing(
            (*date.atoms, f"time:short:{time}"),
            lambda side: side.glue(date.say(side), format_time(time, "short", locale=side.locale)),
        )

    def interval(self) -> Thing:
        """From one day or month to another, or a date with hours from - to."""
        date, day = self.date(), self.day()
        skeleton = self.rng.choice(("clock", "yMMMd", "yMMMEd", "yMMMM"))
        if skeleton == "clock":
            minutes = 15 * self.rng.randrange(6 * 4, 20 * 4)
            start = datetime.datetime.combine(day, datetime.time()) + datetime.timedelta(minutes=minutes)
            end = start + datetime.timedelta(minutes=15 * self.rng.randrange(1, 4 * 4))
            atoms = (*date.atoms, f"from:{start.time()}", f"to:{end.time()}")
            return Thing(
                ("interval:clock", *atoms),
                lambda side: side.glue(
                    date.say(side), format_interval(start, end, side.clock, locale=side.locale)
                ),
            )
        shortest, longest = (32, 1500) if skeleton == "yMMMM" else self.rng.choice(((2, 25), (25, 1500)))
        other = day + datetime.timedelta(days=self.rng.randrange(shortest, longest))
        ends = [self.day_atoms(moment)[: 2 if skeleton == "yMMMM" else 3] for moment in (day, other)]
        return Thing(
            (f"interval:{skeleton}", *ends[0], *ends[1]),
            lambda side: format_interval(day, other, skeleton, locale=side.locale),
        )
