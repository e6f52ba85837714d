"""A collector of spans, over OTLP/HTTP as OpenTelemetry's own takes them. It may be one that never answers."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.waiting import until


@dataclass(frozen=True)
class Span:
    """What a test asks of a span. Ids are in hexadecimal."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    links: tuple[str, ...]
    """The ids of the spans that it is linked to."""
    attributes: Mapping[str, str]


@dataclass
class Collector:
    """Keeps the spans that it takes, and the headers and bodies of all that was posted."""

    url: str = ""
    spans: list[Span] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    posted: list[bytes] = field(default_factory=list)
    answers: threading.Event = field(default_factory=threading.Event)
    """While it is not set, whoever posts waits."""

    def take(self, headers: Mapping[str, str], body: bytes) -> None:
        """Keep what was posted, and its spans once they are answered."""
        self.headers.append(headers)
        self.posted.append(body)
        self.answers.wait()
        self.spans += _spans(body)

    def named(self, name: str, **attributes: str) -> list[Span]:
        """Return the spans of this name with these attributes; dots are written as two underscores."""
        wanted = {key.replace("__", "."): value for key, value in attributes.items()}
        return [span for span in tuple(self.spans) if span.name == name and wanted.items() <= span.attributes.items()]

    async def one(self, name: str, **attributes: str) -> Span:
        """Wait for a span as `named` finds them, and return it."""
        await self.until(lambda: bool(self.named(name, **attributes)))
        return self.named(name, **attributes)[0]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return when the condition holds."""
        await until(condition, "the expected spans have come")

    def edges(self, trace: str) -> set[tuple[str, str]]:
        """Return the trace as pairs of names, of a parent and its child; of a span whose parent is elsewhere, `""`."""
        of_it = {span.id: span for span in tuple(self.spans) if span.trace == trace}
        return {(of_it[span.parent].name if span.parent in of_it else "", span.name) for span in of_it.values()}


def _spans(body: bytes) -> Iterator[Span]:
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        service = next(a.value.string_value for a in resource.resource.attributes if a.key == "service.name")
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Span(
                    service,
                    span.name,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    tuple(link.span_id.hex() for link in span.links),
                    {a.key: a.value.string_value for a in span.attributes},
                )


@contextmanager
def collecting(*, answers: bool = True) -> Iterator[Collector]:
    """Run a collector on threads of its own: a program under test may wait for it and block the event loop."""
    collector = Collector()
    if answers:
        collector.answers.set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            collector.take(dict(self.headers), self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200 if self.path == "/v1/traces" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

        def handle(self) -> None:
            try:
                super().handle()
            except ConnectionError:  # whoever posted waits no longer
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    collector.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield collector
    finally:
        collector.answers.set()
        server.shutdown()
        server.server_close()
        thread.join()
