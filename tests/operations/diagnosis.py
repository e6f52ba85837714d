"""The doctor, run by a test."""

from typing import Any

from cli.doctor.command import diagnose
from cli.doctor.results import CheckResult, State
from dev.ports import free_port
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


async def diagnose_shop(
    shop: Shop, *without: str, task_queue: str = "", processes: int = 2, **changes: Any
) -> list[CheckResult]:
    """Run the doctor on the shop, with some variables changed or removed."""
    clock = {"now": changes.pop("now")} if "now" in changes else {}
    given = {name: value for name, value in variables(shop, **changes).items() if name not in without}
    return await diagnose(given, processes=processes, task_queue=task_queue or shop.stack.task_queue, **clock)


def url_of_no_server() -> str:
    """Return the URL of a database whose server does not run."""
    return f"postgresql://postgres@127.0.0.1:{free_port()}/postgres"


def faults(lines: list[CheckResult]) -> dict[str, str]:
    """Return the faults, each with its fix, by area and name."""
    wrong = [line for line in lines if line.state is State.FAULT]
    assert all(line.fix for line in wrong), wrong
    return {f"{line.area}: {line.name}": f"{line.found} -> {line.fix}" for line in wrong}


def result_of(lines: list[CheckResult], area: str, name: str) -> CheckResult:
    """Return one result."""
    return next(line for line in lines if (line.area, line.name) == (area, name))
