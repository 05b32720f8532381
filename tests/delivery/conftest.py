"""A Slack, a ledger, a clock and a sender of their own for each test."""

import pytest

from alerts.slack import SlackSender
from flows.storage.database import open_database
from flows.storage.ledger import SqlLedger
from tests.delivery.helpers import TOKEN, Clock
from tests.slack_standin import StandIn


@pytest.fixture
def slack():
    with StandIn() as stand_in:
        stand_in.workspace.channel_id("#alerts")
        yield stand_in


@pytest.fixture
def ledger(database_url: str):
    with open_database(database_url) as database:
        yield SqlLedger(database)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def sender(slack):
    return SlackSender(TOKEN, slack.api_url, timeout_seconds=2)


@pytest.fixture
def until_rest(run, clock):
    """Call `run` at each due instant, as a worker would, until nothing is due; at most forty times."""

    def call():
        report = run()
        for _ in range(40):
            if report.next_due_at is None:
                return report
            clock.at = max(clock.at, report.next_due_at)
            report = run()
        message = f"there is always something due: {report}"
        raise AssertionError(message)

    return call
