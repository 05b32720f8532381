"""How well countries are governed: scores from an optional file, which nobody ships because ours are unverified."""

from importlib.resources.abc import Traversable

from flows.declarations import read_table
from flows.errors import CatalogError
from forecasting.market.definitions import CONFIDENCE_ORDER
from forecasting.market.indicators import GOVERNANCE_LIMIT, GovernanceScore

COLUMNS = ("country", "score", "source", "confidence")


def read_governance(file: Traversable) -> dict[str, GovernanceScore]:
    """Scores by country, −2.5 (worst) to +2.5, mean of the World Governance Indicators; none without a file.

    Countries are written as the markets write their origins. Raises CatalogError naming file, row and field.
    """
    if not file.is_file():
        return {}
    scores: dict[str, GovernanceScore] = {}
    for row in read_table(file, COLUMNS, ("note",)):
        country, score = row.text("country"), row.number("score")
        if abs(score) > GOVERNANCE_LIMIT:
            message = f"{row.place}: score: {score:g} is not between -2.5 and 2.5"
            raise CatalogError(message)
        if country in scores:
            message = f"{row.place}: country: {country} has a score already"
            raise CatalogError(message)
        source, confidence = row.text("source"), row.word("confidence", CONFIDENCE_ORDER)
        scores[country] = GovernanceScore(country, score, source, confidence)
    return scores
