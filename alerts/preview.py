"""What each rule would do now, without opening anything: for whoever has just written or changed one."""

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from alerts.rules import NotEvaluated, Reading, Rule, Severity
from forecasting.results import Situation


class Outcome(enum.StrEnum):
    """What a rule comes to on one subject."""

    OPENS = "opens"  # an enter limit is crossed
    HOLDS = "holds"  # between the limits: opens nothing, and would keep open what is
    QUIET = "quiet"
    NOT_JUDGED = "not_judged"
    FAILS = "fails"


@dataclass(frozen=True, slots=True)
class RulePreview:
    """One rule on one subject; `subject` is empty for a rule that has none to judge, or fails as a whole."""

    rule: str
    type: str
    subject: str
    outcome: Outcome
    words: str
    severity: Severity | None = None  # that it would open
    title: str = ""  # of the subject, for a reader who doesn't know its name

    @property
    def line(self) -> str:
        """Rule, subject and outcome as one line of text."""
        return (
            f"{self.rule} {self.subject}: {self.words}"
            if self.subject
            else f"{self.rule}: {self.words}"
        )


def preview(rules: Iterable[Rule], situation: Situation) -> tuple[RulePreview, ...]:
    """Every rule on every subject, in their order. A rule that fails says so and stops no other."""
    return tuple(one for rule in rules for one in _of_rule(rule, situation))


def _of_rule(rule: Rule, situation: Situation) -> Iterator[RulePreview]:
    try:
        results = rule.evaluate(situation)
    except Exception as error:  # noqa: BLE001 - whatever it is, the reader must see it beside the others
        what = next(iter(str(error).splitlines()), "")
        words = f"fails: {type(error).__name__}{f': {what}' if what else ''}"
        yield RulePreview(rule.name, rule.type, "", Outcome.FAILS, words)
        return
    if not results:
        words = "quiet: there is nothing to judge"
        yield RulePreview(rule.name, rule.type, "", Outcome.QUIET, words)
    for result in results:
        if isinstance(result, NotEvaluated):
            words = f"can't judge: {result.why}"
            yield RulePreview(rule.name, rule.type, result.subject, Outcome.NOT_JUDGED, words)
        else:
            yield _of_reading(rule, result)


def _of_reading(rule: Rule, reading: Reading) -> RulePreview:
    if reading.severity is not None:
        words = f"{_opening(rule, reading.severity)}: {reading.headline}"
        return RulePreview(
            rule.name,
            rule.type,
            reading.subject,
            Outcome.OPENS,
            words,
            reading.severity,
            reading.subject_title,
        )
    measured = reading.measured or f"{reading.value:g} {reading.unit}".strip()
    if reading.is_clear:
        outcome, words = Outcome.QUIET, f"quiet: {measured}; {_begins(reading)}"
    else:
        # Its exit limit isn't passed: the difference matters to whoever has it open.
        holds = reading.holds.name.lower() if reading.holds else "alert"
        outcome = Outcome.HOLDS
        words = f"quiet, but an open {holds} would stay open: {measured}; {_begins(reading)}"
    return RulePreview(
        rule.name, rule.type, reading.subject, outcome, words, title=reading.subject_title
    )


def _opening(rule: Rule, severity: Severity) -> str:
    word = severity.name.lower()
    article = "an" if word[0] in "aeiou" else "a"
    needed, window = rule.options.for_evaluations, rule.options.window
    if needed == 1 or severity is Severity.CRITICAL:
        return f"would open {article} {word}"
    often = (
        f"{needed} evaluations in a row"
        if window == needed
        else f"{needed} of {window} evaluations"
    )
    return f"would open {article} {word} after {often}"


def _begins(reading: Reading) -> str:
    """Where the lowest severity begins, in the words that the reading's own message has for it."""
    lowest = min((severity for severity, _ in reading.exits), default=None)
    word = lowest.name.lower() if lowest else "an alert"
    limit = next((fact.value for fact in reading.facts if fact.label == "Limit"), None)
    if limit is not None:
        return f"{word} from {limit}"
    # No message of it states a limit: a decision is news while it is young enough.
    side = "up to" if reading.direction == "below" else "from"
    return f"{word} {side} {reading.limit:g} {reading.unit}".rstrip()
