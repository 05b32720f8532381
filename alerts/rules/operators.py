"""Rules for operators: whether the service itself can be believed."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import ClassVar

from alerts.rules.limits import Limit, exits_of, for_severity, judge_rising, limit_is, limit_parts
from alerts.rules.reading import (
    FOR_OPERATORS,
    Fact,
    NotEvaluated,
    Reading,
    Rule,
    RuleOptions,
    Severity,
    labels_of,
    short_hash,
)
from alerts.rules.words import fitted, unjudged
from alerts.wording import day, days, instant, percent, period, readable, shortened
from forecasting.results import Situation, SourceState, SourceVisit, UnsentMessage

EVALUATION_ERROR = "evaluation_error"
"""Type of the readings that say whether a rule could be judged at all; no file declares it."""

_STALE_ADVICE = (
    "Newer prices come with lodestone ingest --live. Newer export and yearly figures go into your snapshot "
    "folder (LODESTONE_SNAPSHOT_DIR), then lodestone ingest: its report names rejected rows by file and field. "
    "Alerts that need this source stay as they were."
)


@dataclass(frozen=True, slots=True)
class StaleSource:
    """A publisher whose newest figure is older than the catalogue allows: for operators, not buyers."""

    type: ClassVar[str] = "stale_source"

    name: str
    source: tuple[str, ...] = ()  # empty: every source
    severity: Severity = Severity.WARNING
    options: RuleOptions = FOR_OPERATORS

    @property
    def version(self) -> str:
        return short_hash(self.type, self.severity.name)

    def evaluate(self, situation: Situation) -> tuple[Reading | NotEvaluated, ...]:
        """One reading a source that the service watches."""
        names = self.source or tuple(sorted(situation.sources))
        return tuple(self._evaluate(name, situation) for name in names)

    def fingerprint(self, subject: str) -> str:
        return short_hash(self.name, subject, "now", "above", "days since newest figure")

    def _evaluate(self, subject: str, situation: Situation) -> Reading | NotEvaluated:
        state = situation.sources.get(subject)
        if state is None:
            return unjudged(self, subject, f"{subject}: no such source is watched")
        asked_on = day(situation.known_at)
        if state.newest_known_at is None:
            age, is_stale, weeks = 0, True, 0
            measured = "without any figure"
            finding = "no figure has ever arrived"
            since = "none yet"
            standing = "No figure has ever arrived."
        else:
            age = max((situation.known_at - state.newest_known_at).days, 0)
            is_stale = state.is_stale(situation.known_at)
            # Told again by the week: an edit a day would say nothing new.
            weeks = (age - state.limit_days) // 7 if is_stale else 0
            finding = f"no new figure for {days(age)} (limit {days(state.limit_days)})"
            if not is_stale:
                finding = f"newest figure {days(age)} old (limit {days(state.limit_days)})"
            since = f"known since {day(state.newest_known_at)}"
            measured = f"{days(age)} old"
            standing = (
                f"On {asked_on} the newest figure was {days(age)} old; "
                f"the limit is {days(state.limit_days)}."
            )
        facts = [
            Fact("Source", state.title),
            Fact("Newest figure", since),
            Fact("Limit", days(state.limit_days)),
        ]
        if state.newest_period is not None:
            facts.append(Fact("Newest period", period(state.newest_period, state.frequency)))
        if is_stale:
            facts.append(Fact("Meanwhile", "rules that need it can't notice anything new"))
        return Reading(
            rule=self.name,
            rule_version=self.version,
            type=self.type,
            route=self.options.route,
            subject=subject,
            subject_title=state.title,
            fingerprint=self.fingerprint(subject),
            input_id=short_hash(
                state.title,
                state.newest_period,
                state.newest_known_at,
                state.limit_days,
                f"stale for {weeks} weeks" if is_stale else "fresh",
            ),
            value=float(age),
            unit="days",
            limit=float(state.limit_days),
            severity=self.severity if is_stale else None,
            is_clear=not is_stale,
            headline=fitted(state.title, finding),
            facts=tuple(facts),
            data_through=_last_month(state),
            runbook=self.options.runbook,
            advice=self.options.advice or _STALE_ADVICE,
            owner=self.options.owner,
            measured=measured,
            standing=standing,
            exits=(
                (
                    self.severity,
                    f"every watched series of this source has a {'newer ' if age else ''}figure",
                ),
            ),
            holds=self.severity if is_stale else None,
            labels=labels_of(self, ("source", subject)),
        )


_BAD_ADVICE = (
    "lodestone data quarantine shows the rows that were turned away, with file, row and reason. Figures that were "
    "kept are untouched; what is missing is missing for rules and forecasts too."
)


@dataclass(frozen=True, slots=True)
class BadData:
    """The share of a publisher's rows that its last visit turned away, or a visit that failed as a whole."""

    type: ClassVar[str] = "bad_data"

    name: str
    limits: tuple[Limit, ...]
    source: tuple[str, ...] = ()  # empty: every source that was visited
    min_rows: int = 5  # of fewer rows, a share says nothing
    max_age_days: int = 14
    options: RuleOptions = FOR_OPERATORS

    @property
    def version(self) -> str:
        return short_hash(self.type, *limit_parts(self.limits), self.min_rows, self.max_age_days)

    def evaluate(self, situation: Situation) -> tuple[Reading | NotEvaluated, ...]:
        """One reading a source; one that was not visited lately, or gave hardly anything, says so."""
        names = self.source or tuple(sorted(situation.visits))
        return tuple(self._evaluate(name, situation) for name in names)

    def fingerprint(self, subject: str) -> str:
        return short_hash(self.name, subject, "last visit", "above", "share of rows turned away")

    def _evaluate(self, subject: str, situation: Situation) -> Reading | NotEvaluated:
        visit = situation.visits.get(subject)
        if visit is None:
            return unjudged(self, subject, f"{subject}: no visit to this source is known")
        age = (situation.known_at - visit.at).days
        if age > self.max_age_days:
            why = (
                f"{subject}: last visited on {day(visit.at)}, {days(age)} ago; "
                f"the rule judges up to {days(self.max_age_days)}"
            )
            return unjudged(self, subject, why)
        if not visit.error and visit.read < self.min_rows:
            why = f"{subject}: {_rows(visit.read)} read on {day(visit.at)}, {self.min_rows} needed"
            return unjudged(self, subject, why)
        return self._read(visit)

    def _read(self, visit: SourceVisit) -> Reading:
        share = visit.quarantined / visit.read if visit.read else 0.0
        verdict = judge_rising(share, self.limits)
        severity, holds, on = verdict.severity, verdict.holds, day(visit.at)
        turned_away = f"{visit.quarantined:,} of {_rows(visit.read)}"
        finding = f"{turned_away} turned away on {on}"
        measured = f"{percent(share)} of rows turned away"
        standing = f"On {on} {turned_away} were turned away, {percent(share)}; "
        standing += f"{limit_is(verdict)} {percent(verdict.limit.enter)}."
        facts = [
            Fact("Rows read", f"{visit.read:,}"),
            Fact("Turned away", f"{visit.quarantined:,} ({percent(share)} of rows)"),
            Fact(
                "Limit",
                f"{percent(verdict.limit.enter)} of rows{for_severity(verdict)}",
            ),
            Fact("Last visit", instant(visit.at)),
        ]
        if visit.error:
            lowest = min(limit.severity for limit in self.limits)
            severity, holds = max(severity or lowest, lowest), max(holds or lowest, lowest)
            failure = first_line(visit.error)
            finding = f"the visit on {on} failed: {failure}"
            facts.insert(0, Fact("Failure", failure))
            if verdict.severity is None:
                measured = "a visit that failed"
                standing = f"The visit on {on} failed as a whole: {failure}"
        return Reading(
            rule=self.name,
            rule_version=self.version,
            type=self.type,
            route=self.options.route,
            subject=visit.source,
            subject_title=visit.source,
            fingerprint=self.fingerprint(visit.source),
            input_id=short_hash(
                visit.at, visit.read, visit.quarantined, visit.error, *visit.samples
            ),
            value=share,
            unit="of rows turned away",
            limit=verdict.limit.enter,
            severity=severity,
            is_clear=holds is None,
            headline=fitted(visit.source, finding),
            facts=tuple(facts),
            drivers=tuple(shortened(readable(reason), 200) for reason in visit.samples[:3]),
            runbook=self.options.runbook,
            advice=self.options.advice or _BAD_ADVICE,
            owner=self.options.owner,
            measured=measured,
            standing=standing,
            exits=tuple(
                (held, f"a whole visit turns away less than {percent(leave)} of its rows")
                for held, leave in exits_of(self.limits)
            ),
            holds=holds,
            labels=labels_of(self, ("source", visit.source)),
        )


_SILENT_ADVICE = (
    "Look at the last runs in Prefect and at the service's log. Until the rules are judged again, no alert "
    "opens, rises or ends: silence means nothing."
)


@dataclass(frozen=True, slots=True)
class SilentPipeline:
    """Rules that were not judged for `hours` or longer: whoever judges them now says that nobody had."""

    type: ClassVar[str] = "silent_pipeline"

    name: str
    hours: int = 26  # a daily run, and two hours for one that is late
    severity: Severity = Severity.CRITICAL
    options: RuleOptions = FOR_OPERATORS

    @property
    def version(self) -> str:
        return short_hash(self.type, self.hours, self.severity.name)

    def evaluate(self, situation: Situation) -> tuple[Reading | NotEvaluated, ...]:
        """One reading, of the pipeline; none before its first judgement: nothing is silent yet.

        Nothing of it can be open then, which an empty answer would withdraw.
        """
        judged_at = situation.last_judged_at
        return () if judged_at is None else (self._read(judged_at, situation.known_at),)

    def fingerprint(self, subject: str) -> str:
        return short_hash(self.name, subject, "now", "above", "hours since rules were judged")

    def _read(self, judged_at: datetime, known_at: datetime) -> Reading:
        silent = max(known_at - judged_at, timedelta())
        is_silent = silent >= timedelta(hours=self.hours)
        title = "The pipeline"
        last = instant(judged_at)
        since, limit = _hours(silent), "1 hour" if self.hours == 1 else f"{self.hours} hours"
        return Reading(
            rule=self.name,
            rule_version=self.version,
            type=self.type,
            route=self.options.route,
            subject="pipeline",
            subject_title=title,
            fingerprint=self.fingerprint("pipeline"),
            # Told again by the day: an edit an hour would say nothing new.
            input_id=short_hash(
                judged_at, f"silent for {silent.days} days" if is_silent else "heard"
            ),
            value=silent / timedelta(hours=1),
            unit="hours",
            limit=float(self.hours),
            severity=self.severity if is_silent else None,
            is_clear=not is_silent,
            headline=fitted(title, f"rules last judged {since} ago, on {last} (limit {limit})"),
            facts=(
                Fact("Rules last judged", last),
                Fact("Silent for", since),
                Fact("Limit", limit),
            ),
            runbook=self.options.runbook,
            advice=self.options.advice or _SILENT_ADVICE,
            owner=self.options.owner,
            measured=f"{since} without a judgement",
            standing=f"The rules were last judged {since} ago, on {last}; the limit is {limit}.",
            exits=((self.severity, f"the rules are judged again within {limit}"),),
            holds=self.severity if is_silent else None,
            labels=labels_of(self),
        )


_UNDELIVERED_ADVICE = (
    "Mend what the reason says; then lodestone alerts redrive sends what was given up. What waits or is unclear "
    "needs no command. Until then readers of this channel miss these messages: tell them another way."
)
_REASONS_SHOWN = 3
_SUBJECT_LIMIT = 80  # what the ledger keeps of a subject


@dataclass(frozen=True, slots=True)
class Undelivered:
    """Messages that a channel doesn't have: given up, or waiting or unclear for `minutes` though no mute keeps them.

    It speaks of the channels that the situation names for it: not of the one that its own notice goes to.
    """

    type: ClassVar[str] = "undelivered"

    name: str
    minutes: int = 30
    severity: Severity = Severity.WARNING
    options: RuleOptions = FOR_OPERATORS

    @property
    def version(self) -> str:
        return short_hash(self.type, self.minutes, self.severity.name)

    def evaluate(self, situation: Situation) -> tuple[Reading | NotEvaluated, ...]:
        """One reading a channel."""
        return tuple(
            self._read(channel, unsent, situation.known_at)
            for (rule, channel), unsent in situation.undelivered.items()
            if rule == self.name
        )

    def fingerprint(self, subject: str) -> str:
        return short_hash(self.name, subject, "now", "above", "messages not delivered")

    def _read(self, channel: str, unsent: Sequence[UnsentMessage], known_at: datetime) -> Reading:
        stuck = self._stuck(unsent, known_at)
        # What was in trouble and goes again has not arrived yet: an end would be told too early.
        is_clear = all(one.state == "waiting" and not one.is_tried for one in unsent)
        subject = shortened(channel, _SUBJECT_LIMIT)
        limit = f"a message given up, or {_minutes(self.minutes)} without knowing that it arrived"
        reasons = _commonest([one.reason for one in stuck if one.reason])
        facts = _facts_of(stuck, reasons)
        finding = _finding(stuck)
        standing = f"{channel}: {finding}; the limit is {limit}."
        if not stuck:
            finding = "no message is stuck" if is_clear else "messages are being tried again"
            standing = f"{channel}: {finding}."
        return Reading(
            rule=self.name,
            rule_version=self.version,
            type=self.type,
            route=self.options.route,
            subject=subject,
            subject_title=channel,
            fingerprint=self.fingerprint(subject),
            input_id=short_hash(finding, *((fact.label, fact.value) for fact in facts), *reasons),
            value=float(len(stuck)),
            unit="messages",
            limit=1.0,
            severity=self.severity if stuck else None,
            is_clear=is_clear,
            headline=fitted(channel, finding),
            facts=(*facts, Fact("Limit", limit)),
            drivers=reasons[1:],
            runbook=self.options.runbook,
            advice=self.options.advice or _UNDELIVERED_ADVICE,
            owner=self.options.owner,
            measured=_stuck_messages(len(stuck)),
            standing=standing,
            exits=((self.severity, "every message of this channel has arrived"),),
            holds=self.severity if stuck else None,
            labels=labels_of(self),
        )

    def _stuck(self, unsent: Sequence[UnsentMessage], known_at: datetime) -> list[UnsentMessage]:
        """Those that somebody has to hear of, oldest first."""
        limit = timedelta(minutes=self.minutes)
        late = [one for one in unsent if one.state == "waiting" and known_at - one.since >= limit]
        if not any(one.is_tried for one in late):
            late = []  # the service stood still: it sends them now, and the channel is not to blame
        unclear = [
            one for one in unsent if one.state == "unknown" and known_at - one.since >= limit
        ]
        dead = [one for one in unsent if one.state == "dead"]
        return sorted([*dead, *unclear, *late], key=lambda one: one.since)


def _finding(stuck: Sequence[UnsentMessage]) -> str:
    """How many, what became of them, since when; for none of them nothing."""
    if not stuck:
        return ""
    messages = "1 message" if len(stuck) == 1 else f"{len(stuck):,} messages"
    states = {one.state for one in stuck}
    since = instant(stuck[0].since)
    if states == {"dead"}:
        return f"{messages} given up, since {since}"
    if states == {"unknown"}:
        return f"unclear whether {messages} arrived, since {since}"
    return f"{messages} not delivered, since {since}"


def _stuck_messages(count: int) -> str:
    if count == 1:
        return "1 stuck message"
    return f"{count:,} stuck messages" if count else "no stuck message"


def _facts_of(stuck: Sequence[UnsentMessage], reasons: Sequence[str]) -> tuple[Fact, ...]:
    counts = Counter(one.state for one in stuck)
    words = {"dead": "Given up", "unknown": "Unclear", "waiting": "Waiting"}
    facts = [Fact(words[state], f"{counts[state]:,}") for state in words if counts[state]]
    if stuck:
        facts.append(Fact("Oldest", f"of {instant(min(one.written_at for one in stuck))}"))
    if reasons:
        facts.append(Fact("Reason", reasons[0]))
    return tuple(facts)


def _commonest(reasons: Sequence[str]) -> tuple[str, ...]:
    """The different reasons on one line each, the commonest first; equal on every machine."""
    counts = Counter(first_line(reason) for reason in reasons)
    return tuple(sorted(counts, key=lambda reason: (-counts[reason], reason))[:_REASONS_SHOWN])


def _minutes(count: int) -> str:
    return "1 minute" if count == 1 else f"{count} minutes"


_ERRORS_RULE = "evaluation-errors"
_ERRORS_ADVICE = (
    "This is a fault of the service or of its data, not of the market. The log of the run has the whole "
    "failure. Alerts of this rule stay as they were until it can be judged again."
)


def evaluation_error_reading(rule: Rule, why: str | None) -> Reading:
    """Whether a rule could be judged at all: `why` is how it failed, None when it didn't.

    Only the first line of `why` is told, on one line and cut to what a message can show.
    """
    failure = first_line(why) if why is not None else ""
    has_failed = why is not None
    said = f"failed: {failure}" if has_failed else "is judged again"
    return Reading(
        rule=_ERRORS_RULE,
        rule_version=short_hash(EVALUATION_ERROR),
        type=EVALUATION_ERROR,
        route=FOR_OPERATORS.route,
        subject=rule.name,
        subject_title=f"Rule {rule.name}",
        fingerprint=short_hash(_ERRORS_RULE, rule.name),
        input_id=short_hash(_ERRORS_RULE, rule.name, has_failed, failure),
        value=float(has_failed),
        unit="failures",
        limit=1.0,
        severity=Severity.WARNING if has_failed else None,
        is_clear=not has_failed,
        headline=fitted(f"Rule {rule.name}", said),
        facts=(
            Fact("Rule", f"{rule.name} ({rule.type})"),
            *((Fact("Failure", failure),) if has_failed else ()),
            Fact(
                "Meanwhile",
                "its alerts stay as they were" if has_failed else "its alerts are judged as usual",
            ),
        ),
        advice=_ERRORS_ADVICE,
        measured="a rule that could not be judged" if has_failed else "a rule that is judged",
        standing=f"The rule {rule.name} could not be judged: {failure}"
        if has_failed
        else f"The rule {rule.name} is judged without a failure.",
        exits=((Severity.WARNING, "the rule is judged without a failure"),),
        holds=Severity.WARNING if has_failed else None,
        labels=(("type", EVALUATION_ERROR), ("rule", _ERRORS_RULE)),
    )


def first_line(text: str) -> str:
    """The first line with anything on it, readable and at most 200 characters; "no reason given"."""
    lines = (readable(line) for line in text.splitlines())
    return shortened(next((line for line in lines if line), "no reason given"), 200)


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"


def _hours(time: timedelta) -> str:
    """Whole hours, from two days on days: "30 hours", "3 days"."""
    hours = time // timedelta(hours=1)
    if hours >= 48:
        return days(time.days)
    return "1 hour" if hours == 1 else f"{hours} hours"


def _last_month(state: SourceState) -> date | None:
    """The month that the newest period ends in."""
    if state.newest_period is None or state.frequency != "year":
        return state.newest_period
    return state.newest_period.replace(month=12)
