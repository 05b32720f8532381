"""From ore to magnet: the stages as a graph, what each step yields, and the scrap that comes back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from forecasting.market.definitions import Factor, MarketDefinitionError
from forecasting.market.materials import Deposit, DepositMix, contained_oxide

Floats = npt.NDArray[np.float64]
Amount: TypeAlias = float | Floats
"""One number, or one a path."""

STAGES = ("mine", "concentrate", "oxide", "metal", "alloy", "blank", "magnet", "embedded")
"""In the order of the chain. A blank is a sintered block before machining, a magnet a finished one."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A form in which rare earth is counted, and the unit of its tonnes."""

    stage: str  # one of STAGES
    title: str
    unit: str  # "t NdPr oxide", "t alloy", …


@dataclass(frozen=True, slots=True)
class Step:
    """From one stage to the next: out = in · Π factors / Π divide.

    Those of `factors` that also stand in `basis`, and all of `divide`, change what a tonne holds (oxygen
    leaves, iron and boron come in); the others are yields: what they leave behind is lost.
    """

    begins: str
    ends: str
    factors: tuple[str, ...] = ()
    divide: tuple[str, ...] = ()
    basis: tuple[str, ...] = ()
    note: str = ""

    @property
    def name(self) -> str:
        return f"{self.begins} -> {self.ends}"


@dataclass(frozen=True, slots=True)
class ScrapLoop:
    """What a step loses and part of which comes back upstream, after losses of its own.

    Of what the yield `loss` of the step that begins at `begins` leaves behind, the share `rate` goes back
    and, times `yields`, is NdPr at the stage `ends` again.
    """

    title: str
    begins: str
    ends: str
    loss: str
    rate: str
    yields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StageGraph:
    """Stages, the steps between them and the scrap loop. The steps make no circle: a loop is declared as one.

    Raises MarketDefinitionError naming the step or the circle.
    """

    stages: tuple[Stage, ...]
    steps: tuple[Step, ...]
    loop: ScrapLoop | None = None
    _next: Mapping[str, tuple[Step, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names = [stage.stage for stage in self.stages]
        for name in names:
            if name not in STAGES:
                message = f"stage {name!r}: is not one of {', '.join(STAGES)}"
                raise MarketDefinitionError(message)
            if names.count(name) > 1:
                message = f"stage {name}: is declared twice"
                raise MarketDefinitionError(message)
        following: dict[str, list[Step]] = {name: [] for name in names}
        for step in self.steps:
            self._check_step(step, names)
            if any(step.ends == other.ends for other in following[step.begins]):
                message = f"step {step.name}: is declared twice"
                raise MarketDefinitionError(message)
            following[step.begins].append(step)
        object.__setattr__(self, "_next", {name: tuple(steps) for name, steps in following.items()})
        for name in names:
            self._refuse_circle((name,))
        if self.loop is not None:
            self._check_loop(self.loop)

    @property
    def factor_names(self) -> tuple[str, ...]:
        """Every factor that a step or the loop rests on, in order, once."""
        named = [name for step in self.steps for name in (*step.factors, *step.divide)]
        if self.loop is not None:
            named += [self.loop.rate, *self.loop.yields]
        return tuple(dict.fromkeys(named))

    def unit(self, stage: str) -> str:
        """What a tonne at this stage is."""
        return next(one.unit for one in self.stages if one.stage == self._known(stage))

    def chain(self, start: str, stop: str) -> tuple[Step, ...]:
        """The steps from one stage down to another, none when they are the same.

        Raises MarketDefinitionError when no way leads there, or more than one.
        """
        self._known(start)
        self._known(stop)
        ways = self._ways(start, stop)
        if not ways:
            message = f"stages: no steps lead from {start} to {stop}"
            raise MarketDefinitionError(message)
        if len(ways) > 1:
            through = " or ".join(
                " -> ".join([way[0].begins, *(step.ends for step in way)]) for way in ways
            )
            message = f"stages: more than one way leads from {start} to {stop}: {through}"
            raise MarketDefinitionError(message)
        return ways[0]

    def _known(self, stage: str) -> str:
        if stage not in self._next:
            message = f"there is no stage {stage!r}; known: {', '.join(self._next)}"
            raise MarketDefinitionError(message)
        return stage

    def _ways(self, start: str, stop: str) -> list[tuple[Step, ...]]:
        if start == stop:
            return [()]
        return [(step, *rest) for step in self._next[start] for rest in self._ways(step.ends, stop)]

    def _check_step(self, step: Step, names: Sequence[str]) -> None:
        for label, name in (("from", step.begins), ("to", step.ends)):
            if name not in names:
                message = f"step {step.name}: {label}: there is no stage {name!r}; known: {', '.join(names)}"
                raise MarketDefinitionError(message)
        used = [*step.factors, *step.divide]
        for name in used:
            if used.count(name) > 1:
                message = f"step {step.name}: {name} is applied twice"
                raise MarketDefinitionError(message)
        for name in step.basis:
            if name not in step.factors:
                message = f"step {step.name}: basis: {name} is not among its factors: {', '.join(step.factors) or 'none'}"
                raise MarketDefinitionError(message)

    def _refuse_circle(self, way: tuple[str, ...]) -> None:
        for step in self._next[way[-1]]:
            if step.ends in way:
                circle = " -> ".join([*way[way.index(step.ends) :], step.ends])
                message = (
                    f"stages: the steps go in a circle: {circle}; "
                    "what comes back is declared as a return, not as a step"
                )
                raise MarketDefinitionError(message)
            self._refuse_circle((*way, step.ends))

    def _check_loop(self, loop: ScrapLoop) -> None:
        place = f"return {loop.title!r}"
        for label, name in (("from", loop.begins), ("to", loop.ends)):
            if name not in self._next:
                message = (
                    f"{place}: {label}: there is no stage {name!r}; known: {', '.join(self._next)}"
                )
                raise MarketDefinitionError(message)
        if not self._ways(loop.ends, loop.begins):
            message = f"{place}: to: {loop.ends} is not upstream of {loop.begins}: nothing could come round"
            raise MarketDefinitionError(message)
        self.chain(loop.ends, loop.begins)  # refuses more than one way
        losing = [step for step in self._next[loop.begins] if loop.loss in step.factors]
        if len(losing) != 1 or loop.loss in losing[0].basis:
            message = (
                f"{place}: loss: {loop.loss} is not a yield of one step that begins at {loop.begins}; "
                f"yields there: {', '.join(_yields_of(self._next[loop.begins])) or 'none'}"
            )
            raise MarketDefinitionError(message)


@dataclass(frozen=True, slots=True)
class StepAccount:
    """Where the tonnes of a step went: taken + added = made + lost + returned, to rounding.

    `added` and `lost` name the factor by which matter came in or left; `released` is what left because a
    tonne is counted in another form (the oxygen of an oxide). All in tonnes of matter, one value or one a path.
    """

    step: str
    taken_t: Amount
    added_t: Mapping[str, Amount]
    made_t: Amount
    released_t: Mapping[str, Amount]
    lost_t: Mapping[str, Amount]  # without what is returned
    returned_t: Amount  # sent back by the scrap loop, before the losses on its way


def central(factors: Mapping[str, Factor]) -> dict[str, float]:
    """The central value of each factor."""
    return {name: factor.central for name, factor in factors.items()}


def flow_through(
    graph: StageGraph,
    tonnes: Amount,
    start: str,
    stop: str,
    factors: Mapping[str, Amount],
    *,
    scrap_returns: bool = False,
) -> Amount:
    """Tonnes at `stop`, in its unit, made of `tonnes` at `start`: in · Π over the steps of Π factors / Π divide.

    `factors` holds central values or draws of one shape. With `scrap_returns` the loop runs in a steady
    state: what comes back has come back, and everything from the loop's `ends` on is scrap_multiplier times as much.
    Raises MarketDefinitionError for a factor that is missing or not a yield or content that can be.
    """
    steps = graph.chain(start, stop)
    running: Amount = _tonnes(tonnes)
    for step in steps:
        for name in step.factors:
            running = running * _value(step, name, factors)
        for name in step.divide:
            running = running / _value(step, name, factors)
    if scrap_returns and _is_in_loop(graph, start, stop):
        running = running * scrap_multiplier(graph, factors)
    return running


def scrap_gain(graph: StageGraph, factors: Mapping[str, Amount]) -> Amount:
    """Tonnes of NdPr that come back to the loop's `ends` of a tonne that passed there once.

    gain = Π yields(ends → begins) · (1 − loss) · rate · Π yields of the way back; with the central
    factors 0.96 · 0.98 · 0.27 · 0.9 · 0.92 = 0.210. Zero without a loop.
    """
    loop = graph.loop
    if loop is None:
        return 0.0
    gain: Amount = 1.0
    for step in graph.chain(loop.ends, loop.begins):
        for name in _yields_of([step]):
            gain = gain * _value(step, name, factors)
    losing = _losing_step(graph, loop)
    # Yields before the loss in the same step have already taken their part.
    for name in _yields_of([losing]):
        if name == loop.loss:
            break
        gain = gain * _value(losing, name, factors)
    gain = gain * (1 - _value(losing, loop.loss, factors))
    back = Step(loop.begins, loop.ends, (loop.rate, *loop.yields))
    for name in back.factors:
        gain = gain * _value(back, name, factors)
    return gain


def scrap_multiplier(graph: StageGraph, factors: Mapping[str, Amount]) -> Amount:
    """How many times as much is made when scrap comes back again and again: 1 / (1 − gain), about 1.27.

    The sum of 1 + gain + gain² + …; a steady state, so it holds for a year rather than for a month.
    """
    gain = scrap_gain(graph, factors)
    if np.any(np.asarray(gain) >= 1):
        message = "stages: the scrap loop returns everything: 1 / (1 − gain) has no value"
        raise MarketDefinitionError(message)
    return 1 / (1 - gain)


def account(
    graph: StageGraph,
    tonnes: Amount,
    start: str,
    stop: str,
    factors: Mapping[str, Amount],
) -> tuple[StepAccount, ...]:
    """For each step of one pass from `start` to `stop`: what came in, was made, left, and goes back.

    Tonnes of matter. With `in_oxide_terms(graph, factors)` the same account is in the rare earth alone, as
    oxide: then nothing is added or released, and losses are losses of NdPr.
    """
    rows: list[StepAccount] = []
    running: Amount = _tonnes(tonnes)
    for step in graph.chain(start, stop):
        taken = running
        added: dict[str, Amount] = {}
        released: dict[str, Amount] = {}
        lost: dict[str, Amount] = {}
        returned: Amount = 0.0
        # Alloying comes before its losses: what is lost in casting is alloy, not metal.
        for name in step.divide:
            before = running
            running = running / _value(step, name, factors)
            added[name] = running - before
        for name in step.factors:
            value = _value(step, name, factors)
            gone = running * (1 - value)
            running = running * value
            if name in step.basis:
                released[name] = gone
            elif graph.loop is not None and (step.begins, name) == (
                graph.loop.begins,
                graph.loop.loss,
            ):
                back = Step(graph.loop.begins, graph.loop.ends, (graph.loop.rate,))
                returned = gone * _value(back, graph.loop.rate, factors)
                lost[name] = gone - returned
            else:
                lost[name] = gone
        rows.append(StepAccount(step.name, taken, added, running, released, lost, returned))
    return tuple(rows)


def in_oxide_terms(graph: StageGraph, factors: Mapping[str, Amount]) -> dict[str, Amount]:
    """The factors with every change of basis taken as 1: tonnes then count NdPr as oxide all the way."""
    changes = {name for step in graph.steps for name in (*step.basis, *step.divide)}
    return {name: 1.0 if name in changes else value for name, value in factors.items()}


@dataclass(frozen=True, slots=True)
class CheckStep:
    """One line of the world check: a quantity of a year, and how it follows from the lines before."""

    step: str
    title: str
    tonnes: float
    unit: str
    rule: str


def world_check(
    mined_reo: Mapping[str, float],
    mixes: Mapping[str, DepositMix],
    deposits: Mapping[str, Deposit],
    graph: StageGraph,
    factors: Mapping[str, float],
    *,
    recycled_oxide_t: float,
) -> tuple[CheckStep, ...]:
    """What a year's mine output makes: mined, contained, separated, with recycled oxide, alloy, finished magnet.

    `mined_reo` is t REO by origin, `recycled_oxide_t` the NdPr oxide that comes back from scrap in a year
    (t): an observed figure, so the loop isn't run on top of it. `factors` are central values.
    """
    mined = sum(mined_reo.values())
    contained = sum(contained_oxide(mined_reo, mixes, deposits, "Nd", "Pr").values())
    separated = float(flow_through(graph, contained, "mine", "oxide", factors))
    oxide = separated + recycled_oxide_t
    alloy = float(flow_through(graph, oxide, "oxide", "alloy", factors))
    finished = float(flow_through(graph, oxide, "oxide", "magnet", factors))
    return (
        CheckStep("mined", "Rare earths mined", mined, "t REO", "sum of the origins"),
        CheckStep(
            "contained",
            "NdPr oxide in it",
            contained,
            "t NdPr oxide",
            "mined × NdPr share of the deposits, by origin",
        ),
        CheckStep(
            "separated",
            "NdPr oxide separated",
            separated,
            graph.unit("oxide"),
            f"contained × {_words(graph, 'mine', 'oxide', factors)}",
        ),
        CheckStep(
            "recycled",
            "NdPr oxide from magnet scrap",
            recycled_oxide_t,
            graph.unit("oxide"),
            "a year's figure as reported, whatever the year above",
        ),
        CheckStep("oxide", "NdPr oxide in all", oxide, graph.unit("oxide"), "separated + recycled"),
        CheckStep(
            "alloy",
            "Alloy, and gross blanks",
            alloy,
            graph.unit("alloy"),
            f"oxide × {_words(graph, 'oxide', 'alloy', factors)}",
        ),
        CheckStep(
            "finished",
            "Finished magnets",
            finished,
            graph.unit("magnet"),
            f"alloy × {_words(graph, 'alloy', 'magnet', factors)}",
        ),
    )


def _words(graph: StageGraph, start: str, stop: str, factors: Mapping[str, float]) -> str:
    """The factors of a chain as a reader writes them: 0.85 × 0.96 ÷ 0.285."""
    steps = graph.chain(start, stop)
    times = [f"{factors[name]:.4g}" for step in steps for name in step.factors]
    over = [f"{factors[name]:.4g}" for step in steps for name in step.divide]
    return " ÷ ".join([" × ".join(times) or "1", *over])


def _yields_of(steps: Sequence[Step]) -> tuple[str, ...]:
    return tuple(name for step in steps for name in step.factors if name not in step.basis)


def _losing_step(graph: StageGraph, loop: ScrapLoop) -> Step:
    return next(s for s in graph.steps if s.begins == loop.begins and loop.loss in s.factors)


def _is_in_loop(graph: StageGraph, start: str, stop: str) -> bool:
    """Whether what goes from `start` to `stop` passes the loop: it begins before its end and stops after its beginning."""
    loop = graph.loop
    if loop is None:
        return False
    on_the_way = {start, *(step.ends for step in graph.chain(start, stop))}
    inside = {loop.ends, *(step.ends for step in graph.chain(loop.ends, loop.begins))}
    return bool(on_the_way & inside)


def _tonnes(tonnes: Amount) -> Amount:
    if not np.all(np.isfinite(tonnes)) or np.any(np.asarray(tonnes) < 0):
        message = "stages: tonnes: must be finite numbers from 0 up"
        raise MarketDefinitionError(message)
    return tonnes


def _value(step: Step, name: str, factors: Mapping[str, Amount]) -> Amount:
    """A factor of a step, between 0 (above it, where it divides or changes the basis) and 1."""
    if name not in factors:
        message = f"step {step.name}: there is no factor {name!r}"
        raise MarketDefinitionError(message)
    value = factors[name]
    values = np.asarray(value)
    may_be_zero = name not in step.divide
    is_fine = (values <= 1) & ((values >= 0) if may_be_zero else (values > 0))
    if not np.all(is_fine):
        wrong = float(values[~is_fine].flat[0]) if values.ndim else float(values)
        message = (
            f"step {step.name}: {name}: {wrong:g} is not a share "
            f"{'from' if may_be_zero else 'above'} 0 to 1"
        )
        raise MarketDefinitionError(message)
    return value
