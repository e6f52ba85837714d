"""Payments in `holdfast up`: the simulator where there is no Stripe account, and nothing of it where there is one."""

import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import psutil

from dev.ports import free_port
from dev.stripe_account import StripeAccount
from tests.e2e.up import Up, until


def session_opened(up: Up) -> str:
    """Open a session that no hold knows, and return when the simulator has written it down."""
    session = simulator(
        up,
        "POST",
        "/v1/checkout/sessions",
        headers={"Authorization": "Bearer sk_test_somebody"},
        data={
            "mode": "payment",
            "success_url": "https://shop.example/thanks",
            "line_items[0][quantity]": "1",
            "line_items[0][price_data][currency]": "eur",
            "line_items[0][price_data][unit_amount]": "1250",
            "line_items[0][price_data][product_data][name]": "Mug",
        },
    ).json()
    until(lambda: session["id"] in kept_sessions(up), 120)
    return str(session["id"])


def simulator(up: Up, method: str, path: str, **more: Any) -> httpx.Response:
    answer = httpx.request(method, f"{up.stack['simulatorUrl']}{path}", trust_env=False, timeout=120, **more)
    assert answer.is_success, answer.text
    return answer


def kept_sessions(up: Up) -> dict[str, Any]:
    """Return the sessions that the simulator has written down."""
    state = up.home / "simulator.json"
    kept: dict[str, Any] = json.loads(state.read_text())["store"]["sessions"] if state.exists() else {}
    return kept


def sessions(up: Up) -> set[str]:
    return {each["session"] for each in up.simulated("/sessions")}


def environment_of(up: Up, member: str) -> dict[str, str]:
    return psutil.Process(up.stack["pids"][member]).environ()


def pays(page: str) -> str:
    """Press Pay on the page, and return where the browser goes."""
    answer = httpx.post(page, data={"how": "card"}, trust_env=False)
    assert answer.status_code == httpx.codes.SEE_OTHER, answer.text
    return answer.headers["location"]


def temporal_says(workflow: str) -> dict[str, Any]:
    said: dict[str, Any] = httpx.get(workflow, trust_env=False).json()["workflowExecutionInfo"]
    return said


def demo_hold(up: Up) -> str:
    return up.printed("Watch it").rpartition(":")[2]


def deliveries(up: Up, event: str, about: str) -> list[list[int | None]]:
    """Return the answers to each webhook of that type about the session."""
    return [each["answers"] for each in up.simulated("/webhooks") if (each["type"], each["about"]) == (event, about)]


@contextmanager
def suspended(up: Up) -> Iterator[None]:
    """Keep `holdfast up` itself from doing anything; its processes run on."""
    assert up.process is not None
    up.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        up.process.send_signal(signal.SIGCONT)


def test_paying_at_the_printed_link_commits_the_demo_hold(up: Up) -> None:
    hold_id = demo_hold(up)
    assert up.status(hold_id) == "active"
    thanks = httpx.get(pays(up.printed("Pay")), trust_env=False).text
    assert "Your payment of 50.00 EUR has arrived." in thanks
    assert hold_id in thanks
    until(lambda: up.status(hold_id) == "committed", 120, up.output)
    workflow = up.printed("Watch it").replace("/namespaces/", "/api/v1/namespaces/")
    until(lambda: temporal_says(workflow)["status"].endswith("COMPLETED"), 120, up.output)


def test_what_was_paid_while_the_api_was_away_is_heard_when_it_is_back(up: Up) -> None:
    opened = up.checkout()
    before = up.stack["pids"]["api"]
    with suspended(up):  # or it starts the API again before the first webhook is sent
        os.kill(before, signal.SIGKILL)
        pays(opened["url"])
        until(lambda: [None] in deliveries(up, "payment_intent.created", opened["checkoutSessionId"]), 120)
    until(lambda: up.stack["pids"]["api"] != before, 120, up.output)
    until(lambda: up.status(opened["holdId"]) == "committed", 120, up.output)
    until(lambda: deliveries(up, "payment_intent.created", opened["checkoutSessionId"])[0][-1] == httpx.codes.OK, 120)


def test_what_was_paid_and_not_yet_told_is_told_by_the_next_simulator(up: Up) -> None:
    opened = up.checkout()
    up.simulated("/faults", on="webhook", effect="hold", times=None)
    pays(opened["url"])
    until(lambda: kept_sessions(up).get(opened["checkoutSessionId"], {}).get("status") == "complete", 120)
    assert up.status(opened["holdId"]) == "active"
    os.kill(up.stack["pids"]["simulator"], signal.SIGKILL)
    until(lambda: up.status(opened["holdId"]) == "committed", 120, up.output)


def test_a_killed_simulator_is_back_with_its_sessions(up: Up) -> None:
    session = session_opened(up)
    before = up.stack["pids"]
    os.kill(before["simulator"], signal.SIGKILL)
    until(lambda: up.stack["pids"]["simulator"] != before["simulator"], 120, up.output)
    assert session in sessions(up)
    assert up.stack["pids"] == before | {"simulator": up.stack["pids"]["simulator"]}
    assert "simulator ended (killed by SIGKILL); starting it again" in up.output()


def count_mugs(up: Up, on_hand: int) -> None:
    body = {"shopId": "demo", "items": [{"sku": "MUG", "onHand": on_hand}]}
    up.ask("PUT", "/inventory/items", body, role="admin")


def test_a_restart_keeps_sessions_and_secret_moves_pay_pages_with_the_port_and_says_why_there_is_no_demo_payment(
    up: Up,
) -> None:
    session, secret = session_opened(up), up.stack["stripeWebhookSecret"]
    for hold in up.ask("GET", "/inventory/holds?shopId=demo&status=active")["holds"]:
        up.asked("POST", f"/inventory/holds/demo/{hold['holdId']}/release", {})
    count_mugs(up, 0)
    up.signal(signal.SIGINT)
    up.environment["HOLDFAST_SIMULATOR_PORT"] = str(free_port())
    up.start()
    assert up.stack["stripeWebhookSecret"] == secret
    assert up.stack["simulatorUrl"].endswith(up.environment["HOLDFAST_SIMULATOR_PORT"])
    assert f"{up.stack['simulatorUrl']}/c/pay/{session}" in simulator(up, "GET", "/").text
    assert "POST /checkout/sessions was answered 409:" in up.output()
    assert "Serving." in up.output()


def test_the_environments_secret_signs_and_what_would_lead_elsewhere_is_not_used(up: Up) -> None:
    count_mugs(up, 1000)
    up.signal(signal.SIGINT)
    up.environment |= {
        "STRIPE_WEBHOOK_SECRET": "whsec_next, whsec_present",
        "STRIPE_API_BASE": "http://127.0.0.1:9",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
    }
    up.start()
    assert "STRIPE_API_BASE is ignored" in up.output()
    assert up.stack["stripeWebhookSecret"] == "whsec_next"
    for member in ("api", "worker"):
        environment = environment_of(up, member)
        assert environment["STRIPE_API_BASE"] == up.stack["simulatorUrl"]
        assert environment["STRIPE_API_KEY"].startswith("sk_test_")
    assert environment_of(up, "api")["STRIPE_WEBHOOK_SECRET"] == "whsec_next, whsec_present"
    pays(up.printed("Pay"))
    until(lambda: up.status(demo_hold(up)) == "committed", 120, up.output)
    for name in ("STRIPE_WEBHOOK_SECRET", "STRIPE_API_BASE", "HTTP_PROXY", "http_proxy"):
        del up.environment[name]


def test_with_an_account_no_simulator_runs_and_the_environment_is_passed_on(up: Up) -> None:
    up.signal(signal.SIGINT)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        up.environment |= {"STRIPE_API_KEY": "rk_test_mine", "HOLDFAST_SIMULATOR_PORT": port}
        up.start()
    assert up.stack["simulatorUrl"] is None
    assert up.stack["pids"]["simulator"] is None
    assert up.stack["stripeWebhookSecret"] is None
    assert "STRIPE_WEBHOOK_SECRET is not set" in up.output()
    assert "Pay by" not in up.output()
    assert "simulator" not in up.commands
    for member in ("api", "worker"):
        environment = environment_of(up, member)
        assert environment["STRIPE_API_KEY"] == "rk_test_mine"
        assert not {"STRIPE_API_BASE", "STRIPE_WEBHOOK_SECRET"} & environment.keys()


def test_with_an_account_the_environments_secret_is_published_and_none_is_made() -> None:
    def make() -> str:
        raise AssertionError

    secrets = {"STRIPE_API_KEY": "rk_test_mine", "STRIPE_WEBHOOK_SECRET": "whsec_mine"}
    assert StripeAccount.choose(secrets, None, make) == StripeAccount(None, "whsec_mine", {})


def test_a_simulator_state_that_is_none_is_refused_in_one_line(fresh: Up) -> None:
    fresh.home.mkdir()
    (fresh.home / "holdfast-home").touch()
    state = fresh.home / "simulator.json"
    state.write_text('{"store": {}}')
    refusal = fresh.refused()
    assert "simulator ended" in refusal
    assert f"{state} is not the state of a simulator" in refusal
