"""A stateful stand-in for Slack on loopback: keeps what a reader of a channel would see."""

from tests.slack_standin.server import Fault, StandIn
from tests.slack_standin.workspace import Message, Workspace

__all__ = ["Fault", "Message", "StandIn", "Workspace"]
