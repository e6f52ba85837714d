"""One log line for each request that may change something, and for some of the others."""

import structlog

from core.request_context import RequestContext

REQUEST_ID = "X-Request-ID"
REQUEST_ID_FIELD = REQUEST_ID.lower().encode()
"""As ASGI has the names of fields."""

READS_FOR_EACH_LINE = 100
SLOW_SECONDS = 1.0
_WRITES = frozenset({"DELETE", "PATCH", "POST", "PUT", "other"})
_POST_THAT_READS = "/api/inventory/validate"
_POLLED = frozenset({"/livez", "/readyz", "/metrics", "/api/inventory/health"})
_REFUSED_AT_ONCE = frozenset({400, 401, 405, 408, 413, 429})
"""They change nothing, and most of them need no token: a line for each would let anybody fill the disk."""
_NO_ROUTE = "unknown"
_FAILED = 500


class AccessLog:
    """The access lines of a process (docs/decisions/0063)."""

    def __init__(self) -> None:
        self._log: structlog.typing.FilteringBoundLogger = structlog.get_logger("access")
        self._reads = 0

    def write(self, request: RequestContext, status: int, seconds: float) -> None:
        """Log the answered request: always a write, a failure and what was slow, of the others one in a hundred."""
        route = request.route
        if route in _POLLED:
            return
        sampled = {}
        reads = request.method not in _WRITES or route in (_POST_THAT_READS, _NO_ROUTE)
        if (reads or status in _REFUSED_AT_ONCE) and status < _FAILED and seconds < SLOW_SECONDS:
            self._reads += 1
            if self._reads % READS_FOR_EACH_LINE != 1:
                return
            sampled = {"one_of": READS_FOR_EACH_LINE}
        self._log.info("request", status=status, duration_ms=round(seconds * 1000, 1), **sampled)
