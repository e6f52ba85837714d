"""The doctor, asked by a test."""

from typing import Any

from cli.doctor.command import examined
from cli.doctor.lines import Line, State
from tests.paying import Shop
from tests.simulated import API_KEY
from tests.stack import environment

SECRET = "whsec_" + "5" * 32


def variables(shop: Shop, **changes: str) -> dict[str, str]:
    """Return the environment of the shop, as an operator would have it."""
    return {
        **environment(shop.stack.settings.database_url.get_secret_value()),
        "TEMPORAL_ADDRESS": shop.stack.temporal.service_client.config.target_host,
        "TEMPORAL_CONFIG_FILE": "/dev/null",
        "STRIPE_API_KEY": API_KEY,
        "STRIPE_API_BASE": shop.stripe.url,
        "STRIPE_WEBHOOK_SECRET": SECRET,
        "INVENTORY_AUTHORITY_URL": shop.stack.url,
        **changes,
    }


async def examine(shop: Shop, *without: str, task_queue: str = "", processes: int = 2, **changes: Any) -> list[Line]:
    """Have the doctor look at the shop, with some variables changed or taken out."""
    clock = {"now": changes.pop("now")} if "now" in changes else {}
    given = {name: value for name, value in variables(shop, **changes).items() if name not in without}
    return await examined(given, processes=processes, task_queue=task_queue or shop.stack.task_queue, **clock)


def faults(lines: list[Line]) -> dict[str, str]:
    """Return what is wrong, with its fix, by area and name."""
    wrong = [line for line in lines if line.state is State.FAULT]
    assert all(line.fix for line in wrong), wrong
    return {f"{line.area}: {line.name}": f"{line.found} -> {line.fix}" for line in wrong}


def said(lines: list[Line], area: str, name: str) -> Line:
    """Return a line."""
    return next(line for line in lines if (line.area, line.name) == (area, name))
