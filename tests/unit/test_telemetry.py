"""Counters and log lines: JSON for machines, text for people, labels that nobody can fill the memory with."""

import asyncio
import contextvars
import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
import temporalio.activity
from prometheus_client import CollectorRegistry, generate_latest
from temporalio.exceptions import ApplicationError

from core.logging import configure_logging
from core.metrics import COUNTERS, SHOP_LIMIT, Telemetry
from core.request_context import RequestContext, current_request
from core.sdk_logs import join_sdk_logs
from domain.smoke import SMOKE_SHOP

PROMISED = {"created", "committed", "released", "expired", "insufficient", "busy", "error"}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


Configure = Callable[..., io.StringIO]


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[Configure]:
    """Configure the logging and return what is written; afterwards it is as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    hooks = sys.excepthook, threading.excepthook
    configured = structlog.get_config()

    def configure(log_format: str, stream: io.StringIO | None = None) -> io.StringIO:
        written = stream or io.StringIO()
        monkeypatch.setattr(sys, "stdout", written)
        configure_logging(log_format)
        return written

    yield configure
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(capture=False)
    sys.excepthook, threading.excepthook = hooks
    structlog.configure(**configured)


def lines(output: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.getvalue().splitlines()]


def series(registry: CollectorRegistry, metric: str) -> dict[str, float]:
    """Return the values of a counter by its only label."""
    return {
        next(iter(sample.labels.values()), ""): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == f"{metric}_total"
    }


def test_the_counters_of_the_checklist_are_there_from_the_start() -> None:
    registry = CollectorRegistry()
    Telemetry(registry)
    assert {f"inventory_hold_{name}" for name in PROMISED} <= set(COUNTERS)
    for name in COUNTERS:
        assert set(series(registry, name).values()) == {0}
    for name in ("inventory_event_delivered", "inventory_event_error"):
        assert set(series(registry, name)) == {"hold-events", "stock-alerts"}
    assert b"_created{" not in generate_latest(registry)


def test_a_sku_is_a_label_only_where_the_item_exists() -> None:
    registry = CollectorRegistry()
    Telemetry(registry).rejected("demo", [("TEE", True), ("made-up", False), ("TEE", True)])
    assert series(registry, "checkout_rejected_stock") == {"TEE": 2, "other": 1}


def test_at_most_a_thousand_skus_are_labels_and_the_rest_is_other() -> None:
    registry = CollectorRegistry()
    telemetry = Telemetry(registry)
    telemetry.rejected("demo", [(f"SKU-{n}", True) for n in range(1500)])
    telemetry.rejected("demo", [("SKU-0", True), ("SKU-1400", True)])
    found = series(registry, "checkout_rejected_stock")
    assert len(found) == 1001
    assert found["other"] == 501
    assert found["SKU-0"] == 2


def test_holds_are_counted_by_shop_only_where_the_shop_has_the_item() -> None:
    registry = CollectorRegistry()
    telemetry = Telemetry(registry)
    telemetry.count("inventory_hold_created", shop_id="demo")
    telemetry.rejected("demo", [("TEE", True), ("made-up", False)])
    telemetry.rejected("made-up", [("TEE", False)])
    telemetry.count("inventory_hold_insufficient", shop_id="made-up")
    found = {
        (sample.labels["shop"], sample.labels["event"]): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "inventory_shop_holds_total"
    }
    assert found == {("demo", "created"): 1, ("demo", "refused"): 1, ("other", "refused"): 1}


def test_what_fails_in_a_request_of_the_smoke_test_is_not_counted() -> None:
    registry = CollectorRegistry()
    telemetry = Telemetry(registry)

    def fails(shop_id: str) -> None:
        request = RequestContext({"method": "POST"}, None)
        request.note(shop_id)
        current_request.set(request)
        telemetry.fail("inventory_hold_error")

    contextvars.copy_context().run(fails, SMOKE_SHOP)
    assert series(registry, "inventory_hold_error") == {"": 0}
    contextvars.copy_context().run(fails, "shop-1")
    assert series(registry, "inventory_hold_error") == {"": 1}


def test_at_most_a_hundred_shops_have_series_and_the_rest_is_other() -> None:
    registry = CollectorRegistry()
    telemetry = Telemetry(registry)
    for number in range(150):
        telemetry.count("inventory_hold_created", shop_id=f"shop-{number}")
    found = series(registry, "inventory_shop_holds")
    assert len(found) == SHOP_LIMIT + 1
    assert found["other"] == 50


def test_a_log_line_is_json_with_its_metric_and_its_hold(logged: Configure) -> None:
    output = logged("json")
    Telemetry(CollectorRegistry()).count("inventory_hold_created", shop_id="demo", hold_id="h_1")
    (line,) = lines(output)
    assert line["metric"] == line["event"] == "inventory_hold_created"
    assert (line["hold_id"], line["shop_id"], line["level"]) == ("h_1", "demo", "info")
    assert line["timestamp"].endswith("Z")


def test_how_serious_it_is_stands_in_the_line(logged: Configure) -> None:
    output = logged("json")
    telemetry = Telemetry(CollectorRegistry())
    telemetry.warn("inventory_hold_busy", hold_id="h_1")
    telemetry.fail("inventory_hold_error", hold_id="h_1")
    assert [(line["metric"], line["level"]) for line in lines(output)] == [
        ("inventory_hold_busy", "warning"),
        ("inventory_hold_error", "error"),
    ]


def test_each_rejected_item_has_its_own_line(logged: Configure) -> None:
    output = logged("json")
    Telemetry(CollectorRegistry()).rejected("demo", [("TEE", True), ("made-up", False)])
    assert [(line["metric"], line["sku"]) for line in lines(output)] == [
        ("checkout_rejected_stock", "TEE"),
        ("checkout_rejected_stock", "made-up"),
    ]


def test_the_lines_of_libraries_are_json_too(logged: Configure) -> None:
    output = logged("json")
    logging.getLogger("uvicorn.error").warning("took %s", "long", extra={"odd": object()})
    (line,) = lines(output)
    assert (line["event"], line["logger"], line["level"]) == ("took long", "uvicorn.error", "warning")


@pytest.mark.parametrize("logger", ["standard", "structlog"])
def test_an_exception_is_one_line_with_its_trace(logged: Configure, logger: str) -> None:
    output = logged("json")
    try:
        int("a line\nand another")
    except ValueError:
        if logger == "standard":
            logging.getLogger("temporalio").exception("it failed")
        else:
            structlog.get_logger("holdfast").exception("it failed")
    (line,) = lines(output)
    assert line["event"] == "it failed"
    assert "ValueError: invalid literal" in line["exception"]
    assert "Traceback" in line["exception"]


def test_what_ends_a_thread_or_the_process_and_a_warning_are_lines_too(logged: Configure) -> None:
    output = logged("json")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning("old\nway", DeprecationWarning, "x.py", 1)
    thread = threading.Thread(target=int, args=["no number"], name="counter")
    thread.start()
    thread.join()
    try:
        int("no number")
    except ValueError as error:
        sys.excepthook(type(error), error, error.__traceback__)
    warning, in_thread, last = lines(output)
    assert (warning["logger"], warning["level"]) == ("py.warnings", "warning")
    assert "DeprecationWarning: old\nway" in warning["event"]
    assert (in_thread["thread"], in_thread["level"], last["level"]) == ("counter", "error", "critical")
    assert all("ValueError: invalid literal" in line["exception"] for line in (in_thread, last))


def test_an_attempt_that_an_activity_ended_on_purpose_has_no_traceback(logged: Configure) -> None:
    output = logged("json")
    join_sdk_logs()
    work = {"workflow_id": "hold:demo:h_1", "workflow_run_id": "r", "activity_type": "settle", "attempt": 2}
    unavailable = ApplicationError("cannot reach Postgres", type="unavailable")
    for error in (unavailable, asyncio.CancelledError(), KeyError("row"), ApplicationError("of a library")):
        try:
            raise error
        except (ApplicationError, asyncio.CancelledError, KeyError):
            extra = {"temporal_activity": work}
            temporalio.activity.logger.warning("Completing activity as failed", exc_info=True, extra=extra)
    *expected, defect, library = lines(output)
    assert [(line["error_type"], "exception" in line) for line in expected] == [
        ("unavailable", False),
        ("cancelled", False),
    ]
    assert "KeyError" in defect["exception"]
    assert "ApplicationError" in library["exception"]
    known = {"workflow_id": "hold:demo:h_1", "run_id": "r", "activity": "settle", "attempt": 2}
    assert all(known.items() <= line.items() for line in (*expected, defect, library))


def test_the_repeated_calls_of_temporals_library_are_logged_once_a_minute(
    logged: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = logged("json")
    monkeypatch.setattr(logging.getLogger("temporalio.core"), "filters", [])
    core = join_sdk_logs().forwarding
    assert core is not None

    def says(target: str, message: str) -> Any:
        return SimpleNamespace(target=target, message=message, level=logging.WARNING, fields={"n": 1}, time=0.0)

    core._on_logs([says("temporalio_client::retry", f"retried {n} times") for n in range(50)])
    core._on_logs([says("temporalio_sdk_core::worker", "history") for _ in range(2)])
    found = [(line["logger"], line["target"], line["event"]) for line in lines(output)]
    assert found == [
        ("temporalio.core", "temporalio_client::retry", "retried 0 times {'n': 1}"),
        *[("temporalio.core", "temporalio_sdk_core::worker", "history {'n': 1}")] * 2,
    ]


def test_what_a_caller_named_cannot_forge_a_line(logged: Configure) -> None:
    output = logged("json")
    Telemetry(CollectorRegistry()).warn("inventory_hold_busy", path='/a\n{"metric": "forged"}')
    (line,) = lines(output)
    assert line["metric"] == "inventory_hold_busy"


def test_people_at_a_terminal_read_text(logged: Configure) -> None:
    terminal = logged("auto", Terminal())
    Telemetry(CollectorRegistry()).count("inventory_hold_created", shop_id="demo", hold_id="h_1")
    text = terminal.getvalue()
    assert not text.startswith("{")
    assert "inventory_hold_created" in text
    assert "h_1" in text


@pytest.mark.parametrize(("chosen", "is_json"), [("auto", True), ("json", True), ("text", False)])
def test_elsewhere_auto_is_json_and_the_choice_is_heeded(logged: Configure, chosen: str, *, is_json: bool) -> None:
    output = logged(chosen)
    Telemetry(CollectorRegistry()).count("inventory_hold_created", shop_id="demo", hold_id="h_1")
    assert output.getvalue().startswith("{") is is_json
