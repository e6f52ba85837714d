"""docker-compose.yml by Docker's own judgement, where its compose plugin is installed."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OVERRIDES = sorted((ROOT / "deploy" / "compose").glob("*.yml"))


def compose(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["docker", "compose", *arguments],
        env={**os.environ, **variables},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def _missing() -> str:
    """Say why nothing can be judged here; empty where it can."""
    try:
        ran = compose("version", "--short")
    except FileNotFoundError:
        return "docker is not installed"
    return "" if ran.returncode == 0 else "docker has no compose plugin"


pytestmark = pytest.mark.skipif(bool(_missing()), reason=f"`docker compose config` was not run: {_missing()}")


@pytest.mark.parametrize("profiles", ["postgres,temporal,monitoring", "postgres", "temporal", ""])
def test_compose_takes_the_file_whichever_parts_run(profiles: str) -> None:
    ran = compose("--env-file", ".env.example", "config", "--quiet", COMPOSE_PROFILES=profiles)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_without_parts_of_its_own_only_holdfast_runs() -> None:
    ran = compose("--env-file", os.devnull, "config", "--services", COMPOSE_PROFILES="")
    assert sorted(ran.stdout.split()) == ["api", "migrate", "worker"]


@pytest.mark.parametrize("file", OVERRIDES, ids=lambda file: file.stem)
def test_compose_takes_each_addition(file: Path) -> None:
    files = f"docker-compose.yml:{file.relative_to(ROOT)}"
    ran = compose("--env-file", os.devnull, "config", COMPOSE_FILE=files, COMPOSE_PROFILES="")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "/run/secrets/database_url" in ran.stdout
