"""A worker told to stop finishes what it has begun; one that loses a process, or its supervisor, loses no hold."""

import asyncio

import psutil
import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest

from dev.harness.invariants import assert_stock_adds_up
from dev.harness.processes import processes_of
from dev.harness.stock import stock_of, until_waiting
from dev.processes import Child
from tests.e2e.deployment import Deployment, kill, kill_alone
from tests.e2e.test_kills import locked
from tests.waiting import LIMIT_SECONDS, until


async def says(worker: Child, line: str, times: int = 1) -> None:
    """Wait until the worker's log has the line."""

    async def said() -> bool:
        return worker.output().count(line) >= times

    await until(said, f"the worker says: {line}")


@pytest.mark.parametrize("processes", [1, 2])
async def test_a_worker_told_to_stop_finishes_the_reserve_and_the_sale_it_has_begun(
    deployment: Deployment, processes: int
) -> None:
    new, old = f"new-{processes}", f"old-{processes}"
    for hold_id in (new, old):
        await deployment.put(hold_id, 10)
    worker = await deployment.start_worker(processes=processes)
    await deployment.made(old, old, 3)
    async with locked(deployment.database, new, old) as unlock:
        create = asyncio.create_task(deployment.create(new, new, 3))
        commit = asyncio.create_task(deployment.post(old, "commit"))
        await until_waiting(deployment.engine, 2)
        worker.ask_to_stop()
        await says(worker, "running tasks will finish", processes)
        await unlock()

    created = await create
    assert (created.status_code, created.json()["status"]) == (201, "active")
    await until(lambda: asyncio.to_thread(lambda: not worker.alive), "the worker has ended")
    assert worker.exit_code == 0
    assert await deployment.status(old) == "committed"

    successor = await deployment.start_worker()
    assert await deployment.end_of(old) == "committed"
    assert (await commit).status_code in (200, 504)
    history = await deployment.run_of(old).fetch_history()
    assert EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT not in {event.event_type for event in history.events}
    assert (await deployment.answered(new, "release"))["status"] == "released"
    assert await stock_of(deployment.engine, new) == (10, 0)
    assert await stock_of(deployment.engine, old) == (7, 0)
    await assert_stock_adds_up(deployment.engine)
    kill(successor)


async def test_a_worker_process_that_dies_is_replaced_and_its_holds_go_on(deployment: Deployment) -> None:
    await deployment.put("TEE", 10)
    worker = await deployment.start_worker(processes=2)
    await asyncio.gather(*(deployment.made(f"tee-{n}", "TEE") for n in range(6)))
    victim, other = processes_of(worker)

    victim.kill()

    await says(worker, "a worker process died and is started again")
    await says(worker, "worker polls", 3)
    assert other.is_running()

    await asyncio.gather(*(deployment.answered(f"tee-{n}", "commit") for n in range(6)))
    assert await stock_of(deployment.engine, "TEE") == (4, 0)
    await assert_stock_adds_up(deployment.engine)
    kill(worker)


async def test_workers_whose_supervisor_was_killed_stop_by_themselves(deployment: Deployment) -> None:
    supervisor = await deployment.start_worker(processes=2)
    workers = processes_of(supervisor)
    assert len(workers) == 2

    kill_alone(supervisor)

    gone, still = await asyncio.to_thread(psutil.wait_procs, workers, LIMIT_SECONDS)
    assert (len(gone), still) == (2, [])
    await says(supervisor, "running tasks will finish", 2)


async def test_a_worker_says_that_it_polls_once_temporal_has_its_polls(deployment: Deployment) -> None:
    starting = asyncio.create_task(deployment.start_worker(TEMPORAL_NAMESPACE="later"))
    await asyncio.sleep(0)
    worker = deployment.newest
    await says(worker, "Namespace later is not found.")
    assert worker.output().count("worker does not poll") == 1
    assert '"reason": "namespace_missing"' in worker.output()
    assert "Traceback" not in worker.output()
    assert not starting.done()
    await deployment.temporal.workflow_service.register_namespace(
        RegisterNamespaceRequest(namespace="later", workflow_execution_retention_period=Duration(seconds=86_400))
    )
    assert await starting is worker
    kill(worker)
