"""The Temporal SDK's metrics: each process serves them on a loopback port; our /metrics includes them."""

import socket
from collections.abc import Iterator, Sequence
from urllib.request import urlopen

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector


class SdkMetrics(Collector):
    """Collects the SDK's metrics from the loopback ports of all processes, with the process's index as a label."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = ports

    def collect(self) -> Iterator[Metric]:
        """Fetch and merge the metrics of all processes, without those that do not answer."""
        families: dict[str, Metric] = {}
        for process, port in enumerate(self._ports):
            try:
                with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=1) as response:
                    text = response.read().decode()
            except OSError:
                continue
            for family in text_string_to_metric_families(text):
                merged = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                for sample in family.samples:
                    merged.add_sample(sample.name, {**sample.labels, "process": str(process)}, sample.value)
        yield from families.values()


def free_metrics_port() -> int:
    """Return a free port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
