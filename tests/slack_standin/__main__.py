"""`python -m tests.slack_standin --port 8123`: a Slack to look at, until Ctrl-C."""

import argparse
import contextlib
import threading

from tests.slack_standin import Limits, StandIn, Weather


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.slack_standin", description=__doc__)
    parser.add_argument("--port", type=int, default=0, metavar="P", help="default: a free one")
    parser.add_argument(
        "--fault-rate", type=float, default=0.0, metavar="R", help="share of faulty requests, 0-1"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the faults (1)")
    parser.add_argument("--rate-limits", action="store_true", help="keep Slack's rate limits")
    parser.add_argument(
        "--history-lag", type=float, default=0.0, metavar="S", help="seconds until history knows"
    )
    options = parser.parse_args()
    if not 0 <= options.fault_rate <= 1:
        parser.error("--fault-rate is a share between 0 and 1")
    with StandIn(options.port) as stand_in, contextlib.suppress(KeyboardInterrupt):
        if options.fault_rate:
            stand_in.weather = Weather(options.seed, options.fault_rate)
        if options.rate_limits:
            stand_in.workspace.limits = Limits()
        stand_in.workspace.history_lag_seconds = options.history_lag
        print(f"channel page {stand_in.url}/", flush=True)
        print(f"LODESTONE_SLACK_BASE_URL={stand_in.api_url}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
