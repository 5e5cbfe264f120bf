"""Cron: five fields as people write them, six as Kubeflow takes them, words and next times.

Kubeflow reads `robfig/cron` expressions with seconds first. It takes five fields without a word
and means something else by them, so what is sent is always made here.
"""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Iterator

from slimworks.components.errors import ConfigError

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_DAY_WORDS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_MONTH_WORDS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
_SHORTHANDS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_EXAMPLE = 'Write five fields, minute first: --cron "30 3 * * mon" is Mondays at 03:30 UTC.'
_MAX_DIGITS = 4  # Python refuses to read numbers of thousands of them
_YEARS_AHEAD = 9  # 29 February comes again after eight years at most (1896, 1904)


@dataclasses.dataclass(frozen=True)
class _Field:
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    first_name: int = 0


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, _MONTHS, 1),
    _Field("day of the week", 0, 7, _DAYS),  # Sunday is 0 and 7
)


@dataclasses.dataclass(frozen=True)
class Cron:
    """A parsed expression; times are UTC.

    Attributes:
        values: Allowed minutes, hours, days of the month, months, days of the week (Sunday is 0).
        is_any: Which fields are `*`.
    """

    values: tuple[tuple[int, ...], ...]
    is_any: tuple[bool, ...]

    def matches_day(self, day: datetime.date) -> bool:
        """Whether it starts something on a day: where both kinds of day are given, either does.

        That is POSIX crontab(5), and what Kubeflow and Kubernetes do.
        """
        _, _, days, months, weekdays = self.values
        if day.month not in months:
            return False
        by_day, by_weekday = day.day in days, day.isoweekday() % 7 in weekdays
        if self.is_any[2] or self.is_any[4]:
            return by_day and by_weekday
        return by_day or by_weekday

    def times_after(self, moment: datetime.datetime) -> Iterator[datetime.datetime]:
        """Yields the times after a moment, in order, for nine years."""
        moment = moment.astimezone(datetime.timezone.utc)
        minutes, hours = self.values[:2]
        for days in range(366 * _YEARS_AHEAD):
            day = moment.date() + datetime.timedelta(days=days)
            if not self.matches_day(day):
                continue
            for hour in hours:
                for minute in minutes:
                    time = datetime.time(hour, minute, tzinfo=datetime.timezone.utc)
                    found = datetime.datetime.combine(day, time)
                    if found > moment:
                        yield found

    def next_times(self, moment: datetime.datetime, count: int = 3) -> list[datetime.datetime]:
        """The first `count` times after a moment."""
        times = self.times_after(moment)
        return [found for found, _ in zip(times, range(count), strict=False)]

    def five_fields(self) -> str:
        """The expression in numbers only, for a Kubernetes CronJob."""
        shown = (
            "*" if is_any else ",".join(map(str, values))
            for values, is_any in zip(self.values, self.is_any, strict=True)
        )
        return " ".join(shown)

    def six_fields(self) -> str:
        """The expression for Kubeflow: second 0 first."""
        return f"0 {self.five_fields()}"

    def words(self) -> str:
        """The expression in words: `Monday at 03:30 UTC`."""
        return f"{self._day_words()} {self._time_words()} UTC"

    def _time_words(self) -> str:
        minutes, hours = self.values[:2]
        if self.is_any[0]:
            every = "every minute"
            return every if self.is_any[1] else f"{every} of hour {_listed(hours)}"
        if self.is_any[1]:
            return f"every hour at minute {_listed(minutes)}"
        if len(minutes) * len(hours) <= 6:
            return "at " + _and([f"{h:02d}:{m:02d}" for h in hours for m in minutes])
        return f"at minute {_listed(minutes)} of hour {_listed(hours)}"

    def _day_words(self) -> str:
        _, _, days, months, weekdays = self.values
        named = _and([_DAY_WORDS[d] for d in weekdays])
        numbered = f"day {_listed(days)} of the month"
        if self.is_any[2]:
            words = "every day" if self.is_any[4] else f"every {named}"
        else:
            words = numbered if self.is_any[4] else f"{numbered} and every {named}"
        if self.is_any[3]:
            return words
        return f"{words} in {_and([_MONTH_WORDS[m - 1] for m in months])}"


def parse_cron(text: str) -> Cron:
    """Reads five fields (minute, hour, day, month, weekday), or @daily and the like.

    Raises:
        ConfigError: Not five fields, a value out of range, or a time that never comes.
    """
    fields = _SHORTHANDS.get(text.strip().lower(), text).split()
    if len(fields) != 5:
        more = " Kubeflow's own have six, seconds first; here seconds are always 0."
        raise ConfigError(
            f"--cron {text!r} has {len(fields)} fields, expected 5."
            f"{more if len(fields) == 6 else ''}",
            _EXAMPLE,
        )
    parsed = [_parse_field(text, part, field) for part, field in zip(fields, _FIELDS, strict=True)]
    parsed[4] = tuple(sorted({value % 7 for value in parsed[4]}))
    is_any = tuple(field in ("*", "*/1") for field in fields)
    is_stepped = any(fields[i].startswith("*/") for i in (2, 4))
    if is_stepped and not is_any[2] and not is_any[4]:
        raise ConfigError(
            f"--cron {text!r} gives both kinds of day, one with */: programs read that "
            "differently.",
            "Write the days as a list: 1,8,15,22,29.",
        )
    cron = Cron(tuple(parsed), is_any)
    if not cron.next_times(datetime.datetime(2000, 1, 1, tzinfo=datetime.timezone.utc), 1):
        raise ConfigError(f"--cron {text!r} never comes: no month has such a day.", _EXAMPLE)
    return cron


def _parse_field(text: str, part: str, field: _Field) -> tuple[int, ...]:
    values: set[int] = set()
    for piece in part.split(","):
        found = re.fullmatch(r"(\*|\w+)(?:-(\w+))?(?:/(\d{1,4}))?", piece, re.ASCII)
        if found is None or (found[1] == "*" and found[2]):
            raise _field_error(text, piece, field)
        first, last, step = found[1], found[2], int(found[3] or 1)
        low = field.low if first == "*" else _number(text, first, field)
        if last is not None:
            high = _number(text, last, field)
            if field.names == _DAYS and high == 0:
                high = 7  # sat-sun
        else:
            high = field.high if first == "*" or found[3] else low
        if low > high or step == 0:
            raise _field_error(text, piece, field)
        values.update(range(low, high + 1, step))
    return tuple(sorted(values))


def _number(text: str, word: str, field: _Field) -> int:
    if word.lower() in field.names:
        return field.names.index(word.lower()) + field.first_name
    if not word.isdecimal() or len(word) > _MAX_DIGITS or not field.low <= int(word) <= field.high:
        raise _field_error(text, word, field)
    return int(word)


def _field_error(text: str, piece: str, field: _Field) -> ConfigError:
    names = f" or {field.names[0]} to {field.names[-1]}" if field.names else ""
    return ConfigError(
        f"--cron {text!r}: {piece!r} is no {field.name}, expected {field.low} to {field.high}"
        f"{names}, lists (1,2), ranges (1-5) or steps (*/5).",
        _EXAMPLE,
    )


def _listed(values: tuple[int, ...]) -> str:
    """1, 2, 3 and 9 -> `1-3 and 9`."""
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    return _and([str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs])


def _and(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
