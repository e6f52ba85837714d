"""The worker: runs workflows and activities, in one process or in several that share one metrics port.

Start it with `python -m worker`. SIGTERM and SIGINT stop it gracefully: it takes no new tasks and finishes those it is
running.
"""

import argparse
import asyncio
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import Any, NoReturn

import structlog
import uvloop
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector
from temporalio.client import Client
from temporalio.worker import PollerBehaviorSimpleMaximum, Worker, WorkflowRunner

from activities.background_worker import background_worker
from activities.payments import PaymentActivities
from activities.stock import StockActivities
from core.database import create_engine
from core.garbage_collection import collect_garbage_rarely
from core.logging import configure_logging
from core.metrics import Telemetry
from core.metrics_server import serve_metrics
from core.process_end import end_process
from core.process_memory import memory_limit
from core.sdk_metrics import SdkMetrics, free_metrics_port
from core.setting_errors import SettingProblem, SettingsError, check_all
from core.settings import TASK_QUEUE, WORKER_DEPLOYMENT, Settings
from core.start_line import start_fields
from core.temporal import SHUTDOWN_GRACE, connect_config
from core.tracing import start_tracing
from core.worker_cache import MOST, cached_workflows
from core.worker_connection import connect_with_retries, watch_polls
from core.worker_readiness import OwnPolling, Polling, ProcessStates, WorkerReadiness
from core.worker_settings import WorkerSettings
from core.worker_versioning import deployment_config
from core.workflow_runner import FreeingWorkflowRunner
from payments.accounts import open_accounts
from workflows.hold import HoldWorkflow
from workflows.late_payment import LatePaymentWorkflow

# Chosen by measurement: docs/decisions/0007-worker-settings.md.
WORKFLOW_POLLERS = 8
NONSTICKY_POLL_RATIO = 0.5
"""The share of the pollers that takes the first tasks of workflows: more favors create, less favors commit."""
API_POLLERS, API_NONSTICKY_POLL_RATIO = 40, 0.1
"""Of an API process, whose first tasks come with the start. Where no poller is free, Temporal stores the task."""
WORKFLOW_TASK_SLOTS = 100
ACTIVITY_SLOTS = 64
LOCAL_ACTIVITY_SLOTS = 64
CACHED_WORKFLOWS = MOST
"""Running workflows that a process caches where nothing else is said; another is replayed for its next task."""


def make_worker(
    client: Client,
    stock: StockActivities,
    payments: PaymentActivities | None = None,
    *,
    task_queue: str = TASK_QUEUE,
    workflow_runner: WorkflowRunner | None = None,
    cached_workflows: int | None = None,
    pollers: int = WORKFLOW_POLLERS,
    nonsticky_poll_ratio: float = NONSTICKY_POLL_RATIO,
    build_id: str = "",
    deployment: str = WORKER_DEPLOYMENT,
) -> Worker:
    """Create the worker of a process. Without `payments` it runs workflows and their local activities only.

    Workflows run outside the sandbox unless a runner is given: the sandbox costs more CPU than the workflow. The tests
    use the sandbox and replay histories, which verifies determinism.
    """
    activities: list[Callable[..., object]] = [
        stock.reserve,
        stock.amend,
        stock.move_deadline,
        stock.settle,
        stock.warn_of_expiry,
        stock.attach_payment,
        stock.claim_late_payment,
    ]
    if payments is not None:
        activities += [
            payments.open_checkout,
            payments.check_payment,
            payments.close_payment,
            payments.capture_payment,
            payments.refund_or_cancel,
            payments.report_trouble,
            payments.report_late_payment,
        ]
    return Worker(
        client,
        task_queue=task_queue,
        workflows=[HoldWorkflow, LatePaymentWorkflow],
        activities=activities,
        no_remote_activities=payments is None,
        workflow_runner=workflow_runner or FreeingWorkflowRunner(),
        max_cached_workflows=CACHED_WORKFLOWS if cached_workflows is None else cached_workflows,
        max_concurrent_workflow_tasks=WORKFLOW_TASK_SLOTS,
        max_concurrent_activities=ACTIVITY_SLOTS,
        max_concurrent_local_activities=LOCAL_ACTIVITY_SLOTS,
        workflow_task_poller_behavior=PollerBehaviorSimpleMaximum(pollers),
        nonsticky_to_sticky_poll_ratio=nonsticky_poll_ratio,
        # How long the holds of a worker that died wait before another takes them; callers wait 5 s by default.
        sticky_queue_schedule_to_start_timeout=timedelta(seconds=2),
        graceful_shutdown_timeout=SHUTDOWN_GRACE,
        deployment_config=deployment_config(build_id, deployment),
    )


async def run_worker(settings: Settings, sdk_metrics_port: int, cached: int, own: OwnPolling) -> None:
    """Run one worker until SIGTERM or SIGINT, or until its supervisor ends; `own` is told whether it polls."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    _stop_when_supervisor_ends(loop, stop)
    tracing = start_tracing(settings, "holdfast-worker")
    connected = await connect_with_retries(settings, stop, sdk_metrics_port, tracing, own)
    if connected is None:
        return
    client, earlier = connected
    telemetry = Telemetry()
    engine = create_engine(settings)
    try:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(tracing.close)
            payment_accounts = await stack.enter_async_context(open_accounts(settings))
            stock = StockActivities(engine, telemetry, settings.late_payment_policy, settings.buyer_limits)
            payments = PaymentActivities(
                engine, telemetry, payment_accounts, settings.payment_graces, settings.checkout_secrets
            )
            await stack.enter_async_context(background_worker(client, settings, telemetry))
            worker = make_worker(
                client,
                stock,
                payments,
                cached_workflows=cached,
                build_id=settings.worker_build_id,
                deployment=settings.worker_deployment,
            )
            await stack.enter_async_context(worker)
            watch = asyncio.create_task(watch_polls(client, earlier, own, cached_holds=cached))
            stack.callback(watch.cancel)
            await stop.wait()
            own.is_now(Polling.STOPPING)
    finally:
        await engine.dispose()


def _stop_when_supervisor_ends(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """Set `stop` when the supervisor process ends: a supervisor that is killed cannot signal its workers."""
    supervisor = multiprocessing.parent_process()
    if supervisor is None:
        return

    def ended() -> None:
        loop.remove_reader(supervisor.sentinel)
        stop.set()

    loop.add_reader(supervisor.sentinel, ended)


def _run_process(
    settings: Settings, sdk_metrics_port: int, cached: int, polling: ProcessStates, index: int = 0
) -> NoReturn:
    """Run one worker, then end this process."""
    configure_logging(settings.log_format, traced=bool(settings.spans_url))
    collect_garbage_rarely(cached)
    try:
        uvloop.run(run_worker(settings, sdk_metrics_port, cached, OwnPolling(polling, index)))
    except Exception:  # noqa: BLE001 - `multiprocessing` would print its traceback beside the log
        structlog.get_logger("worker").exception("the worker ends with an error")
        end_process(1)
    end_process(0)


def _supervise(settings: Settings, options: WorkerSettings, cached: int, starts: dict[str, Any]) -> None:
    """Run several worker processes until SIGTERM or SIGINT, restarting those that die. `starts` is logged first."""
    log = structlog.get_logger("worker")
    context = multiprocessing.get_context("spawn")
    stopping = False

    with tempfile.TemporaryDirectory(prefix="holdfast-metrics-") as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        ports = [free_metrics_port() for _ in range(options.processes)]

        polling = ProcessStates.shared(options.processes, context)

        def start(index: int) -> BaseProcess:
            polling.tell(index, Polling.STARTING)
            arguments = (settings, ports[index], cached, polling, index)
            process = context.Process(target=_run_process, args=arguments, daemon=True)
            process.start()
            return process

        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=folder)  # type: ignore[no-untyped-call]
        _serve_metrics(options, registry, SdkMetrics(ports), polling)
        log.info("worker starts", **starts)
        children = [start(index) for index in range(options.processes)]

        def stop(*_: object) -> None:
            nonlocal stopping
            stopping = True
            for child in children:
                child.terminate()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        log.info("worker processes started", processes=options.processes, metrics_port=options.metrics_port)
        while not stopping:
            connection.wait([child.sentinel for child in children], timeout=1)
            for index, child in enumerate(children):
                if not stopping and child.exitcode is not None:
                    log.error("a worker process died and is started again", process=index, exit_code=child.exitcode)
                    children[index] = start(index)
        for child in children:
            child.join(SHUTDOWN_GRACE.total_seconds() + 5)


def _serve_metrics(
    options: WorkerSettings, registry: CollectorRegistry, sdk_metrics: SdkMetrics, polling: ProcessStates
) -> None:
    """Serve /metrics and /readyz. Raises SettingsError if this machine has no such address, or its port is taken."""
    try:
        serve_metrics(options.metrics_port, options.metrics_host, registry, WorkerReadiness(polling))
    except OSError as error:
        where = f"{options.metrics_host}:{options.metrics_port}"
        problem = f"metrics cannot be served on {where}: {error.strerror or error}"
        raise SettingsError(SettingProblem("HOLDFAST_WORKER_METRICS_PORT", problem)) from None
    registry.register(sdk_metrics)


def read_options(arguments: Sequence[str] | None = None) -> WorkerSettings:
    """Return the command-line options, each else from its environment variable. Raises SettingsError."""
    parser = argparse.ArgumentParser(prog="python -m worker", description="Run Holdfast's workflows and activities.")
    for option, field in {
        "--processes": "processes",
        "--metrics-port": "metrics_port",
        "--metrics-host": "metrics_host",
    }.items():
        setting = WorkerSettings.model_fields[field]
        text = f"{setting.description} Environment variable: {setting.alias}. Default: {setting.default}."
        parser.add_argument(option, dest=str(setting.alias), help=text)
    given = {name: value for name, value in vars(parser.parse_args(arguments)).items() if value is not None}
    return WorkerSettings.read({**os.environ, **given})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the worker and return the exit code of the process: 2 if a setting is invalid."""
    try:
        check_all(lambda: read_options(arguments), Settings.read, lambda: connect_config(None))
        options, settings = read_options(arguments), Settings.read()
        configure_logging(settings.log_format)
        cached = options.cached_holds
        if cached is None:
            cached = cached_workflows(memory_limit(), options.processes)
        starts = {**start_fields(settings), "processes": options.processes, "cached_holds": cached}
        if options.processes > 1:
            _supervise(settings, options, cached, starts)
            return 0
        sdk_metrics_port = free_metrics_port()
        polling = ProcessStates.of_this_process()
        _serve_metrics(options, REGISTRY, SdkMetrics([sdk_metrics_port]), polling)
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201 - logging may not be configured yet
        return 2
    structlog.get_logger("worker").info("worker starts", **starts)
    _run_process(settings, sdk_metrics_port, cached, polling)


if __name__ == "__main__":
    sys.exit(main())
