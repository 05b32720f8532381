"""Silences: what nobody wants to hear of, until when, who says so and why."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from alerts.errors import AlertsError
from alerts.routing import NO_VALUES, Match, combination_problem, fits, matcher_problem


@dataclass(frozen=True, slots=True)
class Silence:
    """Labels that have to fit (values may hold `*`), and until when nothing of it is posted."""

    id: str
    match: Match
    until: datetime
    reason: str
    author: str
    made_at: datetime
    ended_at: datetime | None = None  # ended by hand before its time

    def is_active(self, at: datetime) -> bool:
        """Whether it lasts at that instant; not before it was made, so that a look back isn't silenced."""
        ended = self.until if self.ended_at is None else min(self.until, self.ended_at)
        return self.made_at <= at < ended

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether every label it names fits; without any it covers nothing, never everything."""
        return bool(self.match) and fits(self.match, labels)


class MatcherError(AlertsError):
    """A silence's words can't be used: the word, and what is allowed, are in the text."""

    def __init__(self, problem: str, word: str = "") -> None:
        self.word = word
        self.problem = problem
        super().__init__(f"{word!r}: {problem}" if word else problem)


def parse_matcher(words: Sequence[str], known: Mapping[str, Collection[str]] = NO_VALUES) -> Match:
    """Labels to fit, from words such as "market=india-*"; all of them have to.

    `known` holds the values of each label as far as they are known, and rules' own labels. Raises MatcherError.
    """
    if not words:
        problem = (
            "no label is given, and that would silence everything; "
            "write label=value, such as market=india-ndfeb, or rule=* if you mean everything"
        )
        raise MatcherError(problem)
    match: dict[str, str] = {}
    for word in words:
        label, equals, value = (part.strip() for part in word.partition("="))
        if not equals or not label:
            problem = "is not label=value, such as market=india-ndfeb"
            raise MatcherError(problem, word)
        if label in match:
            twice = f"{label!r} is given twice; use * to fit several values"
            raise MatcherError(twice, word)
        wrong = matcher_problem(label, value, known)
        if wrong is not None:
            raise MatcherError(wrong, word)
        match[label] = value
    if (clash := combination_problem(tuple(match.items()))) is not None:
        label, problem = clash
        raise MatcherError(problem, f"{label}={match[label]}")
    return tuple(match.items())
