"""A stateful stand-in for Slack on loopback: keeps what a reader of a channel would see."""

from tests.slack_standin.faults import Fault, Weather
from tests.slack_standin.limits import Limits
from tests.slack_standin.server import Request, StandIn
from tests.slack_standin.socket_mode import Click
from tests.slack_standin.workspace import Ephemeral, Message, Workspace

__all__ = [
    "Click",
    "Ephemeral",
    "Fault",
    "Limits",
    "Message",
    "Request",
    "StandIn",
    "Weather",
    "Workspace",
]
