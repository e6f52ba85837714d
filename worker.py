"""The worker: runs the workflows and their activities, in one process or in several behind one metrics port.

Run it as `python -m worker` (`--processes N`, `--metrics-port P`, each also by the environment). SIGTERM and SIGINT
stop it gracefully: it takes no more work and finishes what it has begun.
"""

import argparse
import asyncio
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from importlib.metadata import version
from multiprocessing.process import BaseProcess
from typing import NoReturn

import structlog
import uvloop
from prometheus_client import REGISTRY, CollectorRegistry, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector
from temporalio.client import Client
from temporalio.worker import (
    PollerBehaviorSimpleMaximum,
    UnsandboxedWorkflowRunner,
    Worker,
    WorkflowRunner,
)

from activities.background_worker import background_worker
from activities.payments import PaymentActivities
from activities.stock import StockActivities
from core.database import create_engine
from core.garbage_collection import collect_garbage_rarely
from core.logging import configure_logging
from core.metrics import Telemetry
from core.sdk_metrics import SdkMetrics, free_metrics_port
from core.settings import TASK_QUEUE, Settings, SettingsError
from core.temporal import SHUTDOWN_GRACE, TemporalSettingsError, connect, connect_config, measured_runtime
from core.tracing import ProcessTracing, start_tracing
from core.worker_versioning import deployment_config
from payments.client import open_client
from workflows.hold import HoldWorkflow
from workflows.late_payment import LatePaymentWorkflow

# Set from measurement: docs/decisions/0007-the-workers-settings.md has the tables.
WORKFLOW_POLLERS = 8
NONSTICKY_POLL_RATIO = 0.5
"""The part of the pollers that takes first tasks, as of every new hold: more favours create, less favours commit."""
WORKFLOW_TASK_SLOTS = 100
ACTIVITY_SLOTS = 64
LOCAL_ACTIVITY_SLOTS = 64
CACHED_WORKFLOWS = 20_000
"""Open holds kept in memory by a process, some 80 KiB each (bench/RESULTS.md): 1.7 GB when it is full.

A hold beyond that is replayed from its history when it is heard of.
"""


def make_worker(
    client: Client,
    stock: StockActivities,
    payments: PaymentActivities,
    *,
    task_queue: str = TASK_QUEUE,
    workflow_runner: WorkflowRunner | None = None,
    cached_workflows: int | None = None,
    build_id: str = "",
) -> Worker:
    """Make the worker of a process.

    Workflows run outside the sandbox unless a runner is given: it costs more than the workflow itself, and the
    replayed histories in the tests guard determinism. The tests run inside it.
    """
    return Worker(
        client,
        task_queue=task_queue,
        workflows=[HoldWorkflow, LatePaymentWorkflow],
        activities=[
            stock.reserve,
            stock.move_deadline,
            stock.settle,
            stock.attach_payment,
            stock.claim_late_payment,
            payments.open_checkout,
            payments.look_at_payment,
            payments.close_payment,
            payments.capture_payment,
            payments.give_money_back,
            payments.report_trouble,
            payments.report_late_payment,
        ],
        workflow_runner=workflow_runner or UnsandboxedWorkflowRunner(),
        max_cached_workflows=CACHED_WORKFLOWS if cached_workflows is None else cached_workflows,
        max_concurrent_workflow_tasks=WORKFLOW_TASK_SLOTS,
        max_concurrent_activities=ACTIVITY_SLOTS,
        max_concurrent_local_activities=LOCAL_ACTIVITY_SLOTS,
        workflow_task_poller_behavior=PollerBehaviorSimpleMaximum(WORKFLOW_POLLERS),
        nonsticky_to_sticky_poll_ratio=NONSTICKY_POLL_RATIO,
        # After a worker died its holds go to another one after this time: callers wait 5 s at most.
        sticky_queue_schedule_to_start_timeout=timedelta(seconds=2),
        graceful_shutdown_timeout=SHUTDOWN_GRACE,
        deployment_config=deployment_config(build_id),
    )


async def run_worker(settings: Settings, sdk_metrics_port: int) -> None:
    """Run one worker until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    _stop_with_the_supervisor(loop, stop)
    tracing = start_tracing(settings, "holdfast-worker")
    client = await _connect_patiently(settings, stop, sdk_metrics_port, tracing)
    if client is None:
        return
    telemetry = Telemetry()
    engine = create_engine(settings)
    log = structlog.get_logger("worker")
    try:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(tracing.close)
            payment_client = None
            if settings.stripe_api_key is not None:
                key = settings.stripe_api_key.get_secret_value()
                payment_client = await stack.enter_async_context(open_client(key, settings.stripe_api_base))
            stock = StockActivities(engine, telemetry, settings.late_payment_policy)
            payments = PaymentActivities(engine, telemetry, payment_client, settings.payment_graces)
            await stack.enter_async_context(background_worker(client, settings, telemetry))
            await stack.enter_async_context(make_worker(client, stock, payments, build_id=settings.worker_build_id))
            log.info("worker polls", task_queue=TASK_QUEUE, namespace=client.namespace, version=version("holdfast"))
            await stop.wait()
            log.info("worker stops, finishing what it has begun")
    finally:
        await engine.dispose()


def _stop_with_the_supervisor(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """Stop when the supervisor ends: one that is killed outright cannot tell its processes to."""
    supervisor = multiprocessing.parent_process()
    if supervisor is None:
        return

    def ended() -> None:
        loop.remove_reader(supervisor.sentinel)
        stop.set()

    loop.add_reader(supervisor.sentinel, ended)


async def _connect_patiently(
    settings: Settings, stop: asyncio.Event, sdk_metrics_port: int, tracing: ProcessTracing
) -> Client | None:
    runtime = measured_runtime(sdk_metrics_port)
    log = structlog.get_logger("worker")
    while not stop.is_set():
        try:
            return await connect(settings.temporal_api_key, runtime=runtime, tracer_provider=tracing.provider)
        except RuntimeError as error:
            log.warning("Temporal is out of reach, trying again in 2 s", problem=str(error).splitlines()[0])
        try:
            await asyncio.wait_for(stop.wait(), timeout=2)
        except TimeoutError:
            continue
    return None


def _work(settings: Settings, sdk_metrics_port: int) -> NoReturn:
    configure_logging(settings.log_format, traced=bool(settings.spans_url))
    collect_garbage_rarely()
    uvloop.run(run_worker(settings, sdk_metrics_port))
    # All is finished. The SDK's own threads may still call into the interpreter while it is taken down, which aborts
    # the process (seen once in some twenty stops under load): it ends without.
    sys.stdout.flush()
    os._exit(0)


def _supervise(settings: Settings, processes: int, metrics: tuple[str, int]) -> int:
    """Run several worker processes; one that dies is started again, and all stop with this one."""
    log = structlog.get_logger("worker")
    context = multiprocessing.get_context("spawn")
    stopping = False

    with tempfile.TemporaryDirectory(prefix="holdfast-metrics-") as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        ports = [free_metrics_port() for _ in range(processes)]

        def start(index: int) -> BaseProcess:
            process = context.Process(target=_work, args=(settings, ports[index]), daemon=True)
            process.start()
            return process

        children = [start(index) for index in range(processes)]

        def stop(*_: object) -> None:
            nonlocal stopping
            stopping = True
            for child in children:
                child.terminate()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=folder)  # type: ignore[no-untyped-call]
        registry.register(SdkMetrics(ports))
        start_http_server(metrics[1], metrics[0], registry=registry)
        log.info("worker processes started", processes=processes, metrics_port=metrics[1])
        while not stopping:
            multiprocessing.connection.wait([child.sentinel for child in children], timeout=1)
            for index, child in enumerate(children):
                if not stopping and child.exitcode is not None:
                    log.error("a worker process died and is started again", process=index, exit_code=child.exitcode)
                    children[index] = start(index)
        for child in children:
            child.join(SHUTDOWN_GRACE.total_seconds() + 5)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the worker as the command line and the environment say; the exit code is the process's."""
    parser = argparse.ArgumentParser(prog="python -m worker", description="Run Holdfast's workflows and activities.")
    parser.add_argument(
        "--processes",
        type=int,
        default=int(os.environ.get("HOLDFAST_WORKER_PROCESSES", "1")),
        help="worker processes (HOLDFAST_WORKER_PROCESSES, default 1); workflow tasks are bound to one core each",
    )
    parser.add_argument(
        "--metrics-port",
        type=int,
        default=int(os.environ.get("HOLDFAST_WORKER_METRICS_PORT", "9464")),
        help="where /metrics is served (HOLDFAST_WORKER_METRICS_PORT, default 9464)",
    )
    parser.add_argument(
        "--metrics-host",
        default=os.environ.get("HOLDFAST_WORKER_METRICS_HOST", "0.0.0.0"),  # noqa: S104 - scraped from elsewhere
        help="the address that /metrics listens on (HOLDFAST_WORKER_METRICS_HOST, default all)",
    )
    options = parser.parse_args(arguments)
    try:
        settings = Settings.read()
        connect_config(settings.temporal_api_key)
    except (SettingsError, TemporalSettingsError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - logging is not set up yet
        return 2
    configure_logging(settings.log_format)
    if options.processes > 1:
        return _supervise(settings, options.processes, (options.metrics_host, options.metrics_port))
    sdk_metrics_port = free_metrics_port()
    REGISTRY.register(SdkMetrics([sdk_metrics_port]))
    start_http_server(options.metrics_port, options.metrics_host)
    _work(settings, sdk_metrics_port)


if __name__ == "__main__":
    sys.exit(main())
