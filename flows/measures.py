"""Indicators of observed figures, as known at a moment: who mines, how prices move, what trade figures disagree on."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from flows.catalog import OUTSIDE_CHINA, SeriesEntry
from flows.errors import UsageError
from flows.known import observed
from flows.service import Moment, Service
from forecasting.market.indicators import StageSeries, series_indicators
from forecasting.market.stages import CheckStep, scrap_multiplier, world_check
from forecasting.results import Indicator, ObservedSeries

WORLD = ""
MINED = "mine_output_"
SCRAP = "scrap_ndpr_oxide_per_year"
REPORTERS = {
    "India": "india",
    "EU27": "european_union",
    "United States": "united_states",
    "Japan": "japan",
}
"""Importers of markets, as series of trade name them."""
MIXED_CODES = {
    "India": tuple(
        f"india_imports_hs{code}_china_{{measure}}_fiscal_year"
        for code in ("85051190", "85051900", "85059000")
    )
}
"""Importer → series of customs codes that hold NdFeB beside other magnets, with value and tonnes."""


@dataclass(frozen=True, slots=True)
class MassBalance:
    """A year of the world from mined rare earths to finished magnets, at central factors."""

    year: int
    mined_t_reo: Mapping[str, float]  # by origin
    steps: Sequence[CheckStep]
    scrap_multiplier: (
        float  # magnets of a tonne of oxide when swarf returns, over those when it doesn't
    )


def measures(service: Service, at: Moment) -> dict[str, tuple[Indicator, ...]]:
    """Indicators by importer ("" is the world); what has no data is left out.

    Raises CatalogError for a price outside China that can't be compared with China's.
    """
    known = _Known(service, at)
    governance = service.catalog.governance
    mined = StageSeries(
        "mine",
        "Mine output",
        {one.title.removeprefix("Rare earths mined in "): one for one in known.mined()},
        known.series(f"{MINED}world"),
    )
    found = {
        WORLD: series_indicators(
            stages=[mined],
            prices=known.prices(),
            premiums=known.premiums(),
            governance=governance,
        ),
    }
    for importer, reporter in REPORTERS.items():
        found[importer] = series_indicators(
            mirrors=known.mirrors(reporter),
            mixed_codes=[
                (known.series(name.format(measure="usd")), known.series(name.format(measure="t")))
                for name in MIXED_CODES.get(importer, ())
            ],
        )
    return {importer: ones for importer, ones in found.items() if ones}


def mass_balance(service: Service, at: Moment, year: int | None = None) -> MassBalance:
    """What a year's mine output makes, from rock to magnet, by the deposits and stages of the reference files.

    Without a year, the newest of which China's output is known. Recycled oxide is the factor's central
    value. Raises UsageError when no origin has that year.
    """
    materials, known = service.catalog.materials, _Known(service, at)
    output = {
        origin: {point.period.year: point.value for point in known.series(mix.series).points}
        for origin, mix in materials.mixes.items()
    }
    if year is None:
        year = max(output.get("China", {}), default=None)
    mined = {origin: years[year] for origin, years in output.items() if year in years}
    if year is None or not mined:
        message = (
            f"no mine output of {year or 'any year'} is known: run `lodestone ingest usgs` first, or "
            "ask for another year with --year"
        )
        raise UsageError(message)
    factors = {name: one.central for name, one in service.catalog.factors.items()}
    steps = world_check(
        mined,
        materials.mixes,
        materials.deposits,
        materials.stages,
        factors,
        recycled_oxide_t=factors[SCRAP],
    )
    return MassBalance(year, mined, steps, float(scrap_multiplier(materials.stages, factors)))


class _Known:
    """Series of the catalogue as known at one moment; one that isn't there is empty."""

    def __init__(self, service: Service, at: Moment) -> None:
        self._service, self._at = service, at

    def series(self, name: str) -> ObservedSeries:
        return observed(self._service, name, self._at)

    def mined(self) -> Iterator[ObservedSeries]:
        """Mine output by country, the world's total not among them."""
        for name in self._service.catalog.series:
            if name.startswith(MINED) and name != f"{MINED}world":
                one = self.series(name)
                if one.points:
                    yield one

    def prices(self) -> Iterator[ObservedSeries]:
        """Monthly prices that are forecast."""
        for entry in self._monthly_prices():
            yield self.series(entry.series)

    def premiums(self) -> Iterator[tuple[ObservedSeries, ObservedSeries]]:
        """Those of them that the catalogue has outside China as well: (outside, in China)."""
        catalog = self._service.catalog
        for entry in self._monthly_prices():
            outside = catalog.series.get(OUTSIDE_CHINA.format(series=entry.series))
            if outside is not None:
                yield self.series(outside.series), self.series(entry.series)

    def _monthly_prices(self) -> Iterator[SeriesEntry]:
        for entry in self._service.catalog.series.values():
            if entry.kind == "price" and entry.forecast and entry.frequency == "month":
                yield entry

    def mirrors(self, reporter: str) -> Iterator[tuple[ObservedSeries, ObservedSeries]]:
        """Metal magnets from China: as the importer says, and as China says, by month and by year."""
        catalog = self._service.catalog
        for measure in ("t", "t_year"):
            names = (
                f"{reporter}_imports_hs850511_china_{measure}",
                f"china_exports_hs850511_{reporter}_{measure}",
            )
            # China's exports are kept for single countries, not for the European Union.
            if all(name in catalog.series for name in names):
                yield self.series(names[0]), self.series(names[1])
