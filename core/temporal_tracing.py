"""Traces Temporal calls: from the client through the workflow to its activities. No workflow imports this."""

from typing import cast

from opentelemetry.context import Context
from opentelemetry.propagators.textmap import CarrierT, Setter, default_setter
from opentelemetry.trace import TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from temporalio.contrib.opentelemetry import TracingInterceptor, TracingWorkflowInboundInterceptor
from temporalio.worker import WorkflowInboundInterceptor, WorkflowInterceptorClassInput


class _TraceIdPropagator(TraceContextTextMapPropagator):
    """Propagates trace and span ids only: baggage and `tracestate` come from callers and would stay in the history."""

    def inject(
        self,
        carrier: CarrierT,
        context: Context | None = None,
        setter: Setter[CarrierT] = default_setter,
    ) -> None:
        super().inject(carrier, context, setter)
        cast("dict[str, str]", carrier).pop("tracestate", None)


_PROPAGATOR = _TraceIdPropagator()


class _WorkflowInboundInterceptor(TracingWorkflowInboundInterceptor):
    def __init__(self, next: WorkflowInboundInterceptor) -> None:  # noqa: A002 - the SDK's name
        super().__init__(next)
        self.text_map_propagator = _PROPAGATOR


class TraceContextInterceptor(TracingInterceptor):
    """The Temporal SDK's tracing interceptor for clients and workers, propagating trace and span ids only."""

    def __init__(self, provider: TracerProvider) -> None:
        super().__init__(provider.get_tracer("temporalio"))
        self.text_map_propagator = _PROPAGATOR

    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[_WorkflowInboundInterceptor]:  # noqa: A002
        """Return the interceptor that runs inside workflows."""
        super().workflow_interceptor_class(input)
        return _WorkflowInboundInterceptor
