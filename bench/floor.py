"""The engine's floor: an empty workflow behind the same kind of app, with no stock, no SQL and no tokens.

Create is one update-with-start, commit one update that ends the run; the workflow has a durable timer and nothing
else. Run as `python -m bench.floor api PORT` and `python -m bench.floor worker`.
"""

import asyncio
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import uvicorn
import uvloop
from fastapi import FastAPI, Request
from pydantic import BaseModel
from temporalio import workflow
from temporalio.client import Client, WithStartWorkflowOperation
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.worker import PollerBehaviorSimpleMaximum, Worker

import worker as product
from core.garbage_collection import collect_garbage_rarely
from core.temporal import SHUTDOWN_GRACE, connect
from core.workflow_runner import FreeingWorkflowRunner


def task_queue() -> str:
    """Return the task queue of new workflows: `bench.steps` overrides it."""
    return os.environ.get("FLOOR_TASK_QUEUE", "floor")


class HoldRequest(BaseModel):
    ttl_seconds: int = 1200


class CreateResult(BaseModel):
    id: str
    status: str


@workflow.defn
class EmptyWorkflow:
    @workflow.init
    def __init__(self, ttl_seconds: int) -> None:
        del ttl_seconds
        self._ended = False

    @workflow.run
    async def run(self, ttl_seconds: int) -> str:
        try:
            await workflow.wait_condition(lambda: self._ended, timeout=timedelta(seconds=ttl_seconds))
        except TimeoutError:
            return "expired"
        return "committed"

    @workflow.update
    async def started(self) -> str:
        return "active"

    @workflow.update
    async def commit(self) -> str:
        self._ended = True
        return "committed"


def create_app() -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.client = await connect(None, lazy=True)
        yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/holds", status_code=201)
    async def create(request: Request, body: HoldRequest) -> CreateResult:
        workflow_id = f"floor:{uuid.uuid4().hex}"
        status = await request.app.state.client.execute_update_with_start_workflow(
            EmptyWorkflow.started,
            start_workflow_operation=WithStartWorkflowOperation(
                EmptyWorkflow.run,
                body.ttl_seconds,
                id=workflow_id,
                task_queue=task_queue(),
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            ),
        )
        return CreateResult(id=workflow_id, status=status)

    @app.post("/holds/{workflow_id}/commit")
    async def commit(request: Request, workflow_id: str) -> CreateResult:
        handle = request.app.state.client.get_workflow_handle(workflow_id)
        return CreateResult(id=workflow_id, status=await handle.execute_update(EmptyWorkflow.commit))

    return app


def floor_worker(client: Client, empty: type, *activities: Callable[..., object]) -> Worker:
    """Return a worker with the options of the product's."""
    return Worker(
        client,
        task_queue=task_queue(),
        workflows=[empty],
        activities=activities,
        workflow_runner=FreeingWorkflowRunner(),
        max_cached_workflows=product.CACHED_WORKFLOWS,
        max_concurrent_workflow_tasks=product.WORKFLOW_TASK_SLOTS,
        workflow_task_poller_behavior=PollerBehaviorSimpleMaximum(product.WORKFLOW_POLLERS),
        nonsticky_to_sticky_poll_ratio=product.NONSTICKY_POLL_RATIO,
        graceful_shutdown_timeout=SHUTDOWN_GRACE,
    )


async def work() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with floor_worker(await connect(None), EmptyWorkflow):
        print("worker polls", flush=True)
        await stop.wait()


def main() -> None:
    match sys.argv[1:]:
        case ["api", port]:
            collect_garbage_rarely(product.CACHED_WORKFLOWS)  # as in the product
            uvicorn.run(
                "bench.floor:create_app",
                factory=True,
                host="127.0.0.1",
                port=int(port),
                log_config=None,
                access_log=False,
            )
        case ["worker"]:
            collect_garbage_rarely(product.CACHED_WORKFLOWS)
            uvloop.run(work())  # as in the product
        case _:
            sys.exit("python -m bench.floor api PORT | worker")


if __name__ == "__main__":
    main()
