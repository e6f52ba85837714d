"""`python -m dev.simulator --port 8010 --webhook http://127.0.0.1:8000/api/webhooks/stripe --secret whsec_...`."""

import argparse
import os
from pathlib import Path

import uvicorn

from dev.simulator.account import Account
from dev.simulator.app import StateError, create_app, load
from dev.simulator.config import Config, Endpoint

_STOP_SECONDS = 2
"""How long calls that a fault delays may delay a stop."""


def main() -> None:
    """Run a simulator until it is stopped."""
    parser = argparse.ArgumentParser(
        prog="python -m dev.simulator", description="A stand-in for Stripe, in test mode only."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8010)
    parser.add_argument("--webhook", metavar="URL", help="where events are sent")
    parser.add_argument(
        "--secret",
        action="append",
        default=[],
        help="signs webhooks; twice while it is rotated (default: $STRIPE_WEBHOOK_SECRET, which `ps` does not show)",
    )
    parser.add_argument("--approvals", metavar="URL", help="who is asked to approve payments, signed like webhooks")
    parser.add_argument("--api-key", help="the only accepted key (default: any test mode secret key)")
    parser.add_argument("--public-url", help="where browsers find the pay pages (default: the address called)")
    parser.add_argument("--state", type=Path, metavar="FILE", help="file that keeps the state across restarts")
    parser.add_argument("--seed", type=int, default=0, help="of random faults")
    given = parser.parse_args()
    if given.secret and not given.webhook:
        parser.error("--secret needs --webhook")
    try:
        if given.state is not None:
            load(Account(Config()), given.state)  # checked here: while the server starts, an error would be a traceback
    except StateError as error:
        parser.error(str(error))
    kept = os.environ.get("STRIPE_WEBHOOK_SECRET", "").split(",")
    secrets = given.secret or [each.strip() for each in kept if each.strip()]
    config = Config(
        endpoints=(Endpoint(given.webhook, tuple(secrets)),) if given.webhook else (),
        approvals=Endpoint(given.approvals, _approval_secrets(secrets)) if given.approvals else None,
        api_key=given.api_key,
        seed=given.seed,
        public_url=given.public_url,
        state_file=given.state,
    )
    uvicorn.run(
        create_app(config),
        host=given.host,
        port=given.port,
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=_STOP_SECONDS,
    )


def _approval_secrets(webhook_secrets: list[str]) -> tuple[str, ...]:
    """Return the secrets of $STRIPE_APPROVAL_SECRET, else those of webhooks."""
    kept = os.environ.get("STRIPE_APPROVAL_SECRET", "").split(",")
    return tuple([each.strip() for each in kept if each.strip()] or webhook_secrets)


if __name__ == "__main__":
    main()
