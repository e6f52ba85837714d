"""Runs workflows outside the SDK's sandbox, and frees each when it leaves the cache, without a scan for garbage."""

from typing import TYPE_CHECKING

from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.converter import SerializationContext, StorageDriverStoreContext
from temporalio.worker import (
    UnsandboxedWorkflowRunner,
    WorkflowInstance,
    WorkflowInstanceDetails,
    WorkflowOutboundInterceptor,
)
from temporalio.workflow import Info

if TYPE_CHECKING:
    from temporalio.worker._command_aware_visitor import CommandInfo


class FreeingWorkflowRunner(UnsandboxedWorkflowRunner):
    """The SDK's runner without a sandbox, whose workflows are freed by the count of their references."""

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        """Make the SDK's instance of a workflow, which is emptied when it leaves the cache."""
        return _EmptiedAtEviction(super().create_instance(det))


class _EmptiedAtEviction(WorkflowInstance):
    """An instance of the SDK's, which refers to itself in several ways: it is the event loop of its own tasks.

    With its attributes all of these references are gone. After its eviction the SDK asks it for nothing, except to be
    evicted again: it does so if that took longer than two seconds, whether it was done or not.
    """

    def __init__(self, instance: WorkflowInstance) -> None:
        self._instance = instance
        self._emptied = False

    def activate(self, act: WorkflowActivation) -> WorkflowActivationCompletion:
        if self._emptied:
            completion = WorkflowActivationCompletion(run_id=act.run_id)
            completion.successful.SetInParent()
            return completion
        completion = self._instance.activate(act)
        if any(job.HasField("remove_from_cache") for job in act.jobs) and not completion.HasField("failed"):
            self._emptied = True
            _drop_references(self._instance)
        return completion

    def get_serialization_context(self, command_info: "CommandInfo | None") -> SerializationContext | None:
        return self._instance.get_serialization_context(command_info)

    def get_external_store_context(self, command_info: "CommandInfo | None") -> StorageDriverStoreContext:
        return self._instance.get_external_store_context(command_info)

    def get_info(self) -> Info:
        return self._instance.get_info()

    def get_thread_id(self) -> int | None:
        return self._instance.get_thread_id()


def _drop_references(instance: WorkflowInstance) -> None:
    """Delete the attributes that are objects. Flags stay: a future that is freed asks its event loop for one.

    Interceptors refer to each other: an outbound one to the inbound one that made it.
    """
    attributes = vars(instance)
    for name, value in list(attributes.items()):
        if isinstance(value, WorkflowOutboundInterceptor):
            vars(value).clear()
        if not isinstance(value, bool):
            del attributes[name]
