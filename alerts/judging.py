"""Every rule judged on one situation: a rule that fails is named, and the others go on."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from alerts.ledger import Judgement
from alerts.rules import FOR_OPERATORS, Rule, evaluation_error_reading
from forecasting.results import Situation


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What all rules said, and why some could say nothing, by their names."""

    judgements: tuple[Judgement, ...]
    failures: Mapping[str, str]


def judge_all(
    rules: Sequence[Rule], seen: Situation, failing_before: Collection[str] = ()
) -> Verdicts:
    """One judgement a rule and subject, with one for operators on each rule that fails.

    A rule of `failing_before` that answers again is told to operators as well: their incident ends.
    """
    judgements: list[Judgement] = []
    failures: dict[str, str] = {}
    for rule in rules:
        try:
            results = rule.evaluate(seen)
        except Exception as error:  # noqa: BLE001 - told by name to operators, and stops no other rule
            failures[rule.name] = _first_line(error)
        else:
            judgements += [Judgement(result, rule.options) for result in results]
    known = {rule.name: rule for rule in rules}
    for name in dict.fromkeys([*failures, *failing_before]):
        if name in known:
            reading = evaluation_error_reading(known[name], failures.get(name))
            judgements.append(Judgement(reading, FOR_OPERATORS))
    return Verdicts(tuple(judgements), failures)


def _first_line(error: Exception) -> str:
    """What went wrong in one line, with the kind of mistake: "KeyError: 'dy_oxide'"."""
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
