"""Forecasts and market projections as they were said: kept once, looked up as known at a moment."""

from datetime import datetime

from sqlalchemy import Connection, insert, select

from flows.storage.database import Database
from flows.storage.plain import from_text, pack_paths, to_text, unpack_paths
from flows.storage.tables import forecast, forecast_use, projection, projection_use
from forecasting.results import MarketProjection, SeriesForecast


class ForecastStore:
    """Saves results and finds the last one said at a moment; an equal result is kept once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def save(
        self,
        result: SeriesForecast | MarketProjection,
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
        use = projection_use.c
        query = (
            select(projection)
            .join(projection_use)
            .where(use.market == market, use.scenario == scenario, use.known_at <= known_at)
            .order_by(use.known_at.desc(), use.made_at.desc(), use.id.desc())
            .limit(1)
        )
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        return from_text(
            MarketProjection,
            row.payload,
            shortfall_t_paths=unpack_paths(row.shortfall_paths),
            demand_t_paths=unpack_paths(row.demand_paths),
        )


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
    use = forecast_use.c
    said = select(use.id).where(use.run_id == run_id, use.series == result.series)
    values = {"forecast_id": key, "known_at": known_at, "made_at": made_at}
    if (found := connection.execute(said).scalar()) is not None:
        # A retried step says it again: the run's last word counts.
        connection.execute(forecast_use.update().where(use.id == found).values(**values))
    else:
        connection.execute(
            insert(forecast_use).values(run_id=run_id, series=result.series, **values)
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
    use = projection_use.c
    said = select(use.id).where(
        use.run_id == run_id, use.market == result.market, use.scenario == result.scenario
    )
    values = {"projection_id": key, "known_at": known_at, "made_at": made_at}
    if (found := connection.execute(said).scalar()) is not None:
        connection.execute(projection_use.update().where(use.id == found).values(**values))
    else:
        connection.execute(
            insert(projection_use).values(
                run_id=run_id, market=result.market, scenario=result.scenario, **values
            )
        )
