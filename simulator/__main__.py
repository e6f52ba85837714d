"""`python -m simulator --port 8010 --webhook http://127.0.0.1:8000/api/webhooks/stripe --secret whsec_...`."""

import argparse
from pathlib import Path

import uvicorn

from simulator.app import create_app
from simulator.config import Config, Endpoint


def main() -> None:
    """Run a simulator until it is stopped."""
    parser = argparse.ArgumentParser(
        prog="python -m simulator", description="A stand-in for Stripe, in test mode only."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8010)
    parser.add_argument("--webhook", metavar="URL", help="where events are sent")
    parser.add_argument("--secret", action="append", default=[], help="signs webhooks; twice while it is rotated")
    parser.add_argument("--api-key", help="the only key that is let in (default: any test mode secret key)")
    parser.add_argument("--public-url", help="where browsers find the pay pages (default: the address called)")
    parser.add_argument("--state", type=Path, metavar="FILE", help="keeps the state over restarts")
    parser.add_argument("--seed", type=int, default=0, help="of faults that happen by chance")
    given = parser.parse_args()
    if given.secret and not given.webhook:
        parser.error("--secret needs --webhook")
    config = Config(
        endpoints=(Endpoint(given.webhook, tuple(given.secret)),) if given.webhook else (),
        api_key=given.api_key,
        seed=given.seed,
        public_url=given.public_url,
        state_file=given.state,
    )
    uvicorn.run(create_app(config), host=given.host, port=given.port, access_log=False, log_level="warning")


if __name__ == "__main__":
    main()
