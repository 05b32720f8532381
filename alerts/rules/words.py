"""Words that rules share: months, counts, evidence, headlines that fit a phone."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta

from alerts.rules.reading import HEADLINE_LIMIT, NotEvaluated, Rule
from alerts.wording import month, percent, shortened
from forecasting.results import ObservedPoint

WEAK = {"low", "background"}


def evidence_note(used: Sequence[ObservedPoint], noun: str = "months") -> str:
    """How many of the figures are weak: "5 of 11 months rest on low-confidence figures"."""
    weak = sum(1 for point in used if point.confidence in WEAK)
    if len(used) == 1:
        return f"this figure is {'of low confidence' if weak else 'not of low confidence'}"
    if not weak:
        return f"none of the {len(used)} {noun} rests on low-confidence figures"
    verb = "rests" if weak == 1 else "rest"
    return f"{weak} of {len(used)} {noun} {verb} on low-confidence figures"


def fitted(title: str, finding: str, limit: int = HEADLINE_LIMIT) -> str:
    """Title and finding as one headline; when both don't fit, the title gives way, never the number."""
    room = limit - len(finding) - 2
    if len(title) > room:
        title = title.partition(" (")[0]
    if len(title) <= room:
        return f"{title}: {finding}"
    return f"{shortened(title, max(room, 12))}: {shortened(finding, limit - 14)}"


def period_end(first_day: date, frequency: str) -> date:
    """The last day of what a figure measures: its year, its month or its day."""
    if frequency == "year":
        # A fiscal year ends twelve months after it began, not in December.
        return months_after(first_day, 12) - timedelta(days=1)
    return month_end(first_day) if frequency == "month" else first_day


def unjudged(rule: Rule, subject: str, why: str) -> NotEvaluated:
    """The answer of a rule that can't judge a subject."""
    return NotEvaluated(rule.name, rule.version, rule.type, subject, rule.fingerprint(subject), why)


def months_text(count: int) -> str:
    """A count: "1 month", "3 months"."""
    return "1 month" if count == 1 else f"{count} months"


def coming_months(count: int) -> str:
    """Months from now on: "the next month", "the next 3 months"."""
    return "the next month" if count == 1 else f"the next {count} months"


def months_over(title: str, ends_on: date, known_at: datetime) -> str:
    """Why an answer on months to come can't be given any more; empty up to the last day of them.

    An alert on months that have passed would be over before it was read, and said anew at each look.
    """
    if known_at.date() <= ends_on:
        return ""
    return f"{title}: the months that it speaks of are over: through {month(ends_on)}"


def months_at(count: int) -> str:
    """For an exit: "a month is at", "two months running are at"."""
    return "a month is at" if count == 1 else f"{count_word(count)} months running are at"


def against(share: float) -> str:
    """How a share compares with its mean: "75 % below", "44 % above", "about at"."""
    gap = share - 1
    if abs(gap) < 0.005:
        return "about at"
    return f"{percent(abs(gap))} {'above' if gap > 0 else 'below'}"


def rounded(tonnes: float) -> str:
    """Two significant digits: a balance knows no more than that."""
    if tonnes == 0:
        return "0"
    digits = max(len(str(int(abs(tonnes)))) - 2, 0)
    return f"{round(tonnes, -digits):,.0f}"


_PARTS = {0.05: "twentieth", 0.1: "tenth", 0.2: "fifth", 0.25: "quarter"}


def outcome_words(level: float, *, upper: str = "highest", lower: str = "lowest") -> str:
    """A quantile in a reader's words: "middle outcome", "highest tenth of outcomes"."""
    if level == 0.5:
        return "middle outcome"
    tail = round(min(level, 1 - level), 4)
    part = _PARTS.get(tail, percent(tail))
    # Below the middle, the value is one that all but a few outcomes reach.
    return f"{upper if level > 0.5 else lower} {part} of outcomes"


def quantile_words(text: str, level: float) -> str:
    """A value at a quantile: a middle is "about"; a tail begins there."""
    if level == 0.5:
        return f"about {text}"
    return f"{text} or {'more' if level > 0.5 else 'less'}"


_TEENS = (11, 12, 13)


def count_word(count: int) -> str:
    """Two to four as words, anything else in digits."""
    return {2: "two", 3: "three", 4: "four"}.get(count, str(count))


def ordinal_word(count: int) -> str:
    """A place in a row: "second", "tenth", "22nd"; `count` is 2 or more."""
    words = ("second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
    if count - 2 < len(words):
        return words[count - 2]
    ending = (
        {1: "st", 2: "nd", 3: "rd"}.get(count % 10, "th") if count % 100 not in _TEENS else "th"
    )
    return f"{count}{ending}"


def capitalised(text: str) -> str:
    """With a capital first letter, the rest as it is."""
    return text[:1].upper() + text[1:]


def month_of(period: date) -> date:
    """The first day of the month that a day lies in."""
    return date(period.year, period.month, 1)


def months_after(period: date, count: int) -> date:
    """The first day of the month `count` months later; earlier when it is negative."""
    ordinal = period.year * 12 + period.month - 1 + count
    return date(ordinal // 12, ordinal % 12 + 1, 1)


def month_end(period: date) -> date:
    """The last day of the month that a day lies in."""
    return months_after(period, 1) - timedelta(days=1)
