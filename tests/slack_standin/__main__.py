"""`python -m tests.slack_standin --port 8123`: a Slack to look at, until Ctrl-C."""

import argparse
import contextlib
import threading

from tests.slack_standin.server import StandIn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    port = parser.parse_args().port
    with StandIn(port) as stand_in, contextlib.suppress(KeyboardInterrupt):
        print(f"channel page {stand_in.url}/", flush=True)
        print(f"LODESTONE_SLACK_BASE_URL={stand_in.api_url}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
