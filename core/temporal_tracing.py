"""Traces through Temporal: from a client's call through the workflow to its activities. No workflow imports this."""

from typing import cast

from opentelemetry.context import Context
from opentelemetry.propagators.textmap import CarrierT, Setter, default_setter
from opentelemetry.trace import TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from temporalio.contrib.opentelemetry import TracingInterceptor, TracingWorkflowInboundInterceptor
from temporalio.worker import WorkflowInboundInterceptor, WorkflowInterceptorClassInput


class _Ids(TraceContextTextMapPropagator):
    """The ids only: baggage and `tracestate` are whatever a caller sends, and would stay in a run's history."""

    def inject(
        self,
        carrier: CarrierT,
        context: Context | None = None,
        setter: Setter[CarrierT] = default_setter,
    ) -> None:
        super().inject(carrier, context, setter)
        cast("dict[str, str]", carrier).pop("tracestate", None)


_IDS = _Ids()


class _InWorkflow(TracingWorkflowInboundInterceptor):
    def __init__(self, next: WorkflowInboundInterceptor) -> None:  # noqa: A002 - the SDK's name
        super().__init__(next)
        self.text_map_propagator = _IDS


class Tracing(TracingInterceptor):
    """Temporal's own interceptor, for client and worker, passing on nothing but the ids."""

    def __init__(self, provider: TracerProvider) -> None:
        super().__init__(provider.get_tracer("temporalio"))
        self.text_map_propagator = _IDS

    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[_InWorkflow]:  # noqa: A002
        """Return the part that runs inside workflows."""
        super().workflow_interceptor_class(input)
        return _InWorkflow
