from datetime import UTC, date, datetime

from forecasting.results import ObservedPoint, ObservedSeries
from forecasting.splice import splice


def part(name: str, frequency: str, values: dict[date, float]) -> ObservedSeries:
    known_at = datetime(2026, 1, 1, tzinfo=UTC)
    points = tuple(
        ObservedPoint(day, value, known_at, "TEST", "high") for day, value in values.items()
    )
    return ObservedSeries(name, name, "USD/kg", frequency, points)


def test_the_most_trusted_part_speaks_where_it_has_a_value():
    mean = part("mean", "month", {date(2026, 1, 1): 100.0, date(2026, 2, 1): 124.0})
    end = part("end", "month", {date(2026, 2, 1): 136.0, date(2026, 3, 1): 116.0})
    joined = splice([mean, end], series="nd", title="Nd", frequency="month")
    assert [(p.period.month, p.value) for p in joined.points] == [
        (1, 100.0),
        (2, 124.0),
        (3, 116.0),
    ]


def test_daily_quotes_count_with_the_last_one_of_the_month():
    daily = part("daily", "day", {date(2026, 4, 2): 118.0, date(2026, 4, 29): 121.0})
    joined = splice([daily], series="nd", title="Nd", frequency="month")
    assert [(p.period, p.value) for p in joined.points] == [(date(2026, 4, 1), 121.0)]
