"""The command `lodestone alerts health`: whether rules are judged and messages arrive, for a watchman outside."""

import argparse

from flows.console import FAILED, FINE, UNDELIVERED, add_command, answer, open_service


def register(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `health` to the actions of `alerts`."""
    add_command(
        actions,
        "health",
        _health,
        "whether rules are judged and messages arrive: exit code 0, 1 when late, 3 with messages given up",
    )


def _health(options: argparse.Namespace) -> int:
    from flows.health import health

    with open_service() as service:
        found = health(service, service.clock())
    lines = found.problems or (found.why,)
    answer(
        options, found.as_dict(), [f"{'ok ' if found.is_well else 'BAD'}  {line}" for line in lines]
    )
    if found.dead:
        return UNDELIVERED
    return FINE if found.is_well else FAILED
