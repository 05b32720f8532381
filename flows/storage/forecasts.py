"""Forecasts, market projections and scorecards as they were said, looked up as known at a moment."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Table, and_, insert, select, update

from flows.storage.database import Database
from flows.storage.plain import from_text, pack_paths, to_text, unpack_paths
from flows.storage.tables import forecast, forecast_use, projection, projection_use, scorecard
from forecasting.results import MarketProjection, Scorecard, SeriesForecast


@dataclass(frozen=True, slots=True)
class SaidProjection:
    """A projection and the moment as known at which it was said last."""

    projection: MarketProjection
    known_at: datetime


class ForecastStore:
    """Saves results and finds the last one said at a moment; an equal forecast or projection is kept once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def save(
        self,
        result: SeriesForecast | MarketProjection | Scorecard,
        known_at: datetime,
        run_id: str,
        *,
        made_at: datetime | None = None,
    ) -> None:
        """Keep a result and that this run said it as known at `known_at`; again is no harm.

        `made_at` is the wall clock where it differs from `known_at` (a look into the past).
        """
        made_at = known_at if made_at is None else made_at
        with self._database.writing("forecasts") as connection:
            if isinstance(result, SeriesForecast):
                _save_forecast(connection, result, known_at, made_at, run_id)
            elif isinstance(result, Scorecard):
                what = {"series": result.series}
                kept = {"payload": to_text(result), "known_at": known_at, "made_at": made_at}
                _say(connection, scorecard, run_id, what, **kept)
            else:
                _save_projection(connection, result, known_at, made_at, run_id)

    def latest_forecast(self, series: str, known_at: datetime) -> SeriesForecast | None:
        """What was said last about a series, as known at a moment."""
        use = forecast_use.c
        query = (
            select(forecast)
            .join(forecast_use)
            .where(use.series == series, use.known_at <= known_at)
            .order_by(use.known_at.desc(), use.made_at.desc(), use.id.desc())
            .limit(1)
        )
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        return from_text(SeriesForecast, row.payload, paths=unpack_paths(row.paths))

    def latest_projection(
        self, market: str, scenario: str, known_at: datetime
    ) -> MarketProjection | None:
        """What was said last about a market under a scenario, as known at a moment."""
        row = self._said(market, scenario, projection_use.c.known_at <= known_at)
        if row is None:
            return None
        return from_text(
            MarketProjection,
            row.payload,
            shortfall_t_paths=unpack_paths(row.shortfall_paths),
            demand_t_paths=unpack_paths(row.demand_paths),
        )

    def previous_projection(
        self, market: str, scenario: str, known_at: datetime, *, other_than: str
    ) -> SaidProjection | None:
        """What was said last of a market, as known before `known_at`, that is not the projection `other_than`.

        A run that nothing new came in for says the same projection again, so this one is from before the
        figures, the definitions or the months changed. It comes without its paths.
        """
        use = projection_use.c
        earlier = and_(use.known_at < known_at, use.projection_id != other_than)
        row = self._said(market, scenario, earlier)
        if row is None:
            return None
        found = from_text(MarketProjection, row.payload, shortfall_t_paths=(), demand_t_paths=())
        return SaidProjection(found, row.said_as_known_at)

    def _said(
        self, market: str, scenario: str, when: ColumnElement[bool]
    ) -> Row[tuple[Any, ...]] | None:
        """The last projection of a market under a scenario among those said at such moments."""
        use = projection_use.c
        query = (
            select(projection, use.known_at.label("said_as_known_at"))
            .join(projection_use)
            .where(use.market == market, use.scenario == scenario, when)
            .order_by(use.known_at.desc(), use.made_at.desc(), use.id.desc())
            .limit(1)
        )
        with self._database.reading() as connection:
            return connection.execute(query).first()

    def latest_scorecard(self, series: str, known_at: datetime) -> Scorecard | None:
        """How the models of a series did on its past, as last said at a moment."""
        card = scorecard.c
        query = (
            select(card.payload)
            .where(card.series == series, card.known_at <= known_at)
            .order_by(card.known_at.desc(), card.made_at.desc(), card.id.desc())
            .limit(1)
        )
        with self._database.reading() as connection:
            text = connection.execute(query).scalar()
        return None if text is None else from_text(Scorecard, text)


def _save_forecast(
    connection: Connection,
    result: SeriesForecast,
    known_at: datetime,
    made_at: datetime,
    run_id: str,
) -> None:
    key = result.forecast_id
    kept = select(forecast.c.forecast_id).where(forecast.c.forecast_id == key)
    if connection.execute(kept).first() is None:
        connection.execute(
            insert(forecast).values(
                forecast_id=key,
                series=result.series,
                made_at=made_at,
                payload=to_text(result, without=("paths",)),
                paths=pack_paths(result.paths),
            )
        )
    what = {"series": result.series}
    _say(
        connection, forecast_use, run_id, what, forecast_id=key, known_at=known_at, made_at=made_at
    )


def _save_projection(
    connection: Connection,
    result: MarketProjection,
    known_at: datetime,
    made_at: datetime,
    run_id: str,
) -> None:
    key = result.projection_id
    kept = select(projection.c.projection_id).where(projection.c.projection_id == key)
    if connection.execute(kept).first() is None:
        connection.execute(
            insert(projection).values(
                projection_id=key,
                market=result.market,
                scenario=result.scenario,
                made_at=made_at,
                payload=to_text(result, without=("shortfall_t_paths", "demand_t_paths")),
                shortfall_paths=pack_paths(result.shortfall_t_paths),
                demand_paths=pack_paths(result.demand_t_paths),
            )
        )
    what = {"market": result.market, "scenario": result.scenario}
    _say(
        connection,
        projection_use,
        run_id,
        what,
        projection_id=key,
        known_at=known_at,
        made_at=made_at,
    )


def _say(
    connection: Connection, uses: Table, run_id: str, what: Mapping[str, str], **values: Any
) -> None:
    """Remember that a run said this of `what`; a retried step says it again, and its last word counts."""
    mine = and_(uses.c.run_id == run_id, *(uses.c[name] == value for name, value in what.items()))
    if connection.execute(select(uses.c.id).where(mine)).first() is None:
        connection.execute(insert(uses).values(run_id=run_id, **what, **values))
    else:
        connection.execute(update(uses).where(mine).values(**values))
