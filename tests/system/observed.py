"""A real Prometheus with the rules of `ops/`, that scrapes a running `holdfast up`."""

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml  # type: ignore[import-untyped]

from dev.ports import free_port
from tests.e2e.up import Up, until

OPS = Path(__file__).parents[2] / "ops"
RULES = OPS / "prometheus" / "rules.yml"
_METRICS = re.compile(r"http://(127\.0\.0\.1:\d+)/metrics *$", re.MULTILINE)


class Observed:
    """Prometheus's answers."""

    def __init__(self, http: httpx.Client, targets: int) -> None:
        self._http = http
        self._targets = targets

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{self._http.base_url.netloc.decode()}"

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series that the expression has now. Raises AssertionError where it is no expression."""
        answer = self._http.get("/query", params={"query": expression})
        assert answer.status_code == 200, f"{expression}: {answer.text}"
        series: list[dict[str, Any]] = answer.json()["data"]["result"]
        return series

    def values(self, metric: str, label: str) -> list[str]:
        """Return the values that a label has on a metric."""
        answer = self._http.get(f"/label/{label}/values", params={"match[]": metric})
        values: list[str] = answer.json()["data"]
        return values

    def alerts(self) -> dict[str, str]:
        """Return what is pending or firing, by the alert's name, without the watchdog, which always fires."""
        told = self._http.get("/alerts").json()["data"]["alerts"]
        states = {alert["labels"]["alertname"]: alert["state"] for alert in told}
        return {name: state for name, state in states.items() if name != "HoldfastWatchdog"}

    def ready(self) -> bool:
        """Say whether each target has been scraped."""
        try:
            answer = self._http.get("/query", params={"query": "up == 1"})
        except httpx.HTTPError:
            return False
        return answer.is_success and len(answer.json()["data"]["result"]) == self._targets


@contextmanager
def observing(up: Up, folder: Path, more: Mapping[str, str] | None = None) -> Iterator[Observed]:
    """Yield a Prometheus with the rules and jobs of `ops/` that scrapes the stack every second.

    `more` has addresses for other jobs by their names.
    """
    api, worker, temporal = _METRICS.findall(up.output())
    targets = {"holdfast-api": api, "holdfast-worker": worker, "temporal": temporal, **(more or {})}
    with watching(targets, folder) as observed:
        yield observed


@contextmanager
def watching(
    targets: Mapping[str, str], folder: Path, rules: Path = RULES, scrape_timeout: str = "1s"
) -> Iterator[Observed]:
    """Yield a Prometheus with these rules and the jobs of `ops/`, which scrapes their addresses every few seconds."""
    config = yaml.safe_load((OPS / "prometheus" / "prometheus.yml").read_text())
    config["global"] = {
        "scrape_interval": scrape_timeout,
        "scrape_timeout": scrape_timeout,
        "evaluation_interval": "1s",
    }
    config["rule_files"] = [str(rules)]
    del config["alerting"]
    config["scrape_configs"] = [
        {"job_name": job["job_name"], "static_configs": [{"targets": [targets[job["job_name"]]]}]}
        for job in config["scrape_configs"]
        if job["job_name"] in targets
    ]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    binary = shutil.which("prometheus")
    assert binary, "prometheus is missing: make test-system installs it"
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(
            [
                binary,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={address}",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        with httpx.Client(base_url=f"http://{address}/api/v1", timeout=120, trust_env=False) as http:
            observed = Observed(http, len(targets))
            until(observed.ready, 120, (folder / "prometheus.log").read_text)
            yield observed
    finally:
        process.terminate()
        process.wait(20)
