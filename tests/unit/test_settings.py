"""Settings: invalid environment variables are refused by name."""

import os
import socket
import subprocess
import sys

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from api.app import create_app
from cli.serve import serve
from core.api_settings import ApiSettings
from core.environment_settings import EnvironmentSettings
from core.setting_errors import SettingProblem, SettingsError
from core.settings import Mode, Settings
from core.worker_settings import WorkerSettings
from dev.ports import Ports
from worker import read_options

URL = {"DATABASE_URL": "postgresql://ann:pa55word@db/shop"}
TOKEN = "0123456789abcdef" * 4


def problem(**changes: str) -> SettingProblem:
    """Return the one problem of an environment with these variables."""
    with pytest.raises(SettingsError) as refused:
        Settings.read(URL | changes)
    (found,) = refused.value.problems
    assert str(refused.value) == f"{found.variable}: {found.reason}"
    assert "pa55word" not in found.reason
    return found


def test_unset_variables_have_their_defaults() -> None:
    settings = Settings.read(URL)
    assert (settings.mode, settings.bypass, settings.backend) == (Mode.VALIDATE_ONLY, False, "postgres")
    assert (settings.ttl_seconds, settings.max_ttl_seconds) == (1200, 3600)
    assert (settings.lock_timeout_ms, settings.request_timeout_ms) == (2000, 5000)
    assert settings.authority_tokens == settings.admin_tokens == ()


def test_spans_are_sent_where_the_opentelemetry_variables_say() -> None:
    base, whole = "http://collector:4318/", "https://traces.example.com/otlp"
    assert Settings.read(URL).spans_url == ""
    assert Settings.read({**URL, "OTEL_EXPORTER_OTLP_ENDPOINT": ""}).spans_url == ""
    assert Settings.read({**URL, "OTEL_EXPORTER_OTLP_ENDPOINT": base}).spans_url == "http://collector:4318/v1/traces"
    both = {"OTEL_EXPORTER_OTLP_ENDPOINT": base, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": whole}
    assert Settings.read({**URL, **both}).spans_url == whole


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("INVENTORY_MODE", "reserve"),
        ("INVENTORY_MODE", "RESERVE_TTL"),
        ("INVENTORY_HOLD_TTL_SECONDS", "20m"),
        ("INVENTORY_HOLD_MAX_TTL_SECONDS", "29"),
        ("SKIP_INVENTORY_VALIDATION", "maybe"),
        ("INVENTORY_LOCK_TIMEOUT_MS", "2s"),
        ("HOLDFAST_LOG_FORMAT", "xml"),
        ("INVENTORY_BACKEND", "mysql"),
        ("STRIPE_API_KEY", "pk_test_public"),
        ("STRIPE_WEBHOOK_SECRET", "secret"),
        ("STRIPE_WEBHOOK_SECRET", "whsec_one,two"),
        ("STRIPE_API_BASE", "localhost:8010"),
        ("STRIPE_API_BASE", "http://localhost:8010/v1"),
        ("LATE_PAYMENT_POLICY", "ignore"),
        ("PAYMENT_GRACE_SECONDS", "sepa_debit=14d"),
        ("PAYMENT_GRACE_SECONDS", "sepa_debit=29"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "grpc://collector:4317"),
        ("TEMPORAL_API_KEY", "a key"),
        ("DATABASE_URL", "mysql://db/shop"),
        ("DATABASE_URL", ""),
        ("INVENTORY_AUTHORITY_TOKEN", "short"),
        ("INVENTORY_ADMIN_TOKEN", "short"),
        ("INVENTORY_ADMIN_TOKEN", "ä" * 40),
        ("INVENTORY_ADMIN_TOKEN", "a b" * 20),
        ("HOLDFAST_WORKER_BUILD_ID", "a b"),
        ("HOLDFAST_WORKER_BUILD_ID", "a" * 129),
    ],
)
def test_an_invalid_value_is_refused_by_its_name(name: str, value: str) -> None:
    assert problem(**{name: value}).variable == name


@pytest.mark.parametrize(
    ("name", "lowest", "highest"),
    [
        ("INVENTORY_HOLD_TTL_SECONDS", 30, 3600),
        ("INVENTORY_HOLD_MAX_TTL_SECONDS", 1200, 86_400),
        ("INVENTORY_LOCK_TIMEOUT_MS", 50, 4000),
        ("HOLDFAST_API_CONNECTIONS", 10, 65_535),
        ("HOLDFAST_API_HEADER_SECONDS", 1, 300),
        ("HOLDFAST_API_BODY_SECONDS", 1, 3600),
        ("INVENTORY_REQUEST_TIMEOUT_MS", 500, 30_000),
        ("INVENTORY_DATABASE_POOL_SIZE", 1, 64),
        ("PAYMENT_CLOSE_GRACE_SECONDS", 0, 604_800),
    ],
)
def test_the_bounds_of_a_number_are_allowed(name: str, lowest: int, highest: int) -> None:
    for value in (lowest, highest):
        Settings.read(URL | {name: str(value)})
    for value in (lowest - 1, highest + 1):
        found = problem(**{name: str(value)})
        assert name in (found.variable, *found.related)


def test_a_maximum_below_the_default_lifetime_is_a_problem_of_both() -> None:
    found = problem(INVENTORY_HOLD_MAX_TTL_SECONDS="600")
    assert (found.variable, found.related) == ("INVENTORY_HOLD_TTL_SECONDS", ("INVENTORY_HOLD_MAX_TTL_SECONDS",))


def test_all_problems_are_reported_together() -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.read({"INVENTORY_MODE": "x", "INVENTORY_LOCK_TIMEOUT_MS": "x"})
    names = {each.variable for each in refused.value.problems}
    assert names == {"DATABASE_URL", "INVENTORY_LOCK_TIMEOUT_MS", "INVENTORY_MODE"}


def test_a_database_url_is_required() -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.read({})
    assert [each.variable for each in refused.value.problems] == ["DATABASE_URL"]


@pytest.mark.parametrize(
    "parameter", ["schema=public", "pgbouncer=true", "connection_limit=5", "pool_timeout=10", "foo=1"]
)
def test_url_parameters_unknown_to_psql_are_refused_by_name(parameter: str) -> None:
    found = problem(DATABASE_URL=f"postgresql://ann:pa55word@db/shop?sslmode=require&{parameter}")
    assert parameter.partition("=")[0] in found.reason


def test_a_password_that_is_not_percent_encoded_is_refused_and_not_repeated() -> None:
    assert problem(DATABASE_URL="postgresql://ann:pa55word@so me@db/shop").variable == "DATABASE_URL"


@pytest.mark.parametrize(
    "url", ["postgres://db/shop", "postgresql://ann:p%40ss@db:5433/shop?sslmode=require&application_name=shop"]
)
def test_a_url_that_psql_accepts_is_accepted(url: str) -> None:
    assert Settings.read({"DATABASE_URL": url}).database_url.get_secret_value() == url


@pytest.mark.parametrize(
    "placeholder", ["your-secure-token-here-and-some-more-of-it", "<generate-with-openssl-rand-hex-32>", "changeme" * 5]
)
def test_the_placeholders_of_the_checklist_are_not_tokens(placeholder: str) -> None:
    assert problem(INVENTORY_AUTHORITY_TOKEN=placeholder).variable == "INVENTORY_AUTHORITY_TOKEN"


def test_two_tokens_are_allowed_and_three_are_not() -> None:
    both = Settings.read(URL | {"INVENTORY_ADMIN_TOKEN": f" {TOKEN} , {TOKEN}1,"}).admin_tokens
    assert [token.get_secret_value() for token in both] == [TOKEN, f"{TOKEN}1"]
    for refused in (f"{TOKEN},{TOKEN}1,{TOKEN}2", f"{TOKEN},short"):
        assert problem(INVENTORY_ADMIN_TOKEN=refused).variable == "INVENTORY_ADMIN_TOKEN"


def test_secrets_are_not_shown() -> None:
    settings = Settings.read(URL | {"INVENTORY_ADMIN_TOKEN": TOKEN})
    assert TOKEN not in repr(settings)
    assert "pa55word" not in repr(settings)
    assert TOKEN[:31] not in problem(INVENTORY_ADMIN_TOKEN=TOKEN[:31]).reason


async def test_the_backend_of_the_earlier_implementation_is_accepted_with_a_warning() -> None:
    settings = Settings.read(URL | {"INVENTORY_BACKEND": "prisma", "INVENTORY_ADMIN_TOKEN": TOKEN})
    app = create_app(settings, registry=CollectorRegistry())
    with capture_logs() as logs:
        async with app.router.lifespan_context(app):
            pass
    assert [log["log_level"] for log in logs if "INVENTORY_BACKEND" in log["event"]] == ["warning"]


def test_an_api_needs_a_token() -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.read(URL).require_tokens()
    (found,) = refused.value.problems
    assert {found.variable, *found.related} == {"INVENTORY_AUTHORITY_TOKEN", "INVENTORY_ADMIN_TOKEN"}
    Settings.read(URL | {"INVENTORY_AUTHORITY_TOKEN": TOKEN}).require_tokens()


def test_a_token_for_both_roles_is_refused_and_not_repeated() -> None:
    tokens = {"INVENTORY_AUTHORITY_TOKEN": f"{TOKEN},{TOKEN}1", "INVENTORY_ADMIN_TOKEN": f"{TOKEN}1"}
    with pytest.raises(SettingsError) as refused:
        Settings.read(URL | tokens).require_tokens()
    (found,) = refused.value.problems
    assert (found.variable, found.related) == ("INVENTORY_ADMIN_TOKEN", ("INVENTORY_AUTHORITY_TOKEN",))
    assert TOKEN not in str(refused.value)


@pytest.mark.parametrize("key", ["sk_live_abc", "rk_live_abc"])
def test_a_live_key_is_refused_with_the_address_of_the_simulator(key: str) -> None:
    found = problem(STRIPE_API_KEY=key, STRIPE_API_BASE="http://127.0.0.1:8010")
    assert (found.variable, found.related) == ("STRIPE_API_KEY", ("STRIPE_API_BASE",))
    assert key not in found.reason
    Settings.read(URL | {"STRIPE_API_KEY": key})
    Settings.read(URL | {"STRIPE_API_KEY": "sk_test_abc", "STRIPE_API_BASE": "http://127.0.0.1:8010"})


def test_payment_settings_are_read() -> None:
    settings = Settings.read(
        URL
        | {
            "STRIPE_API_KEY": "rk_test_abc",
            "STRIPE_WEBHOOK_SECRET": "whsec_new, whsec_old",
            "PAYMENT_GRACE_SECONDS": "sepa_debit=86400, default=3600",
        }
    )
    assert settings.stripe_api_key is not None
    assert [secret.get_secret_value() for secret in settings.stripe_webhook_secrets] == ["whsec_new", "whsec_old"]
    assert settings.payment_graces == {"sepa_debit": 86_400, "default": 3600}
    assert Settings.read(URL | {"STRIPE_API_KEY": "", "STRIPE_API_BASE": ""}).stripe_api_key is None


def test_options_of_the_worker_override_its_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_WORKER_PROCESSES", "2")
    monkeypatch.setenv("HOLDFAST_WORKER_METRICS_PORT", "9000")
    options = read_options(["--metrics-port", "9001"])
    assert (options.processes, options.metrics_port) == (2, 9001)
    lowest = read_options(["--processes", "0", "--metrics-port", "0"])
    assert (lowest.processes, lowest.metrics_port) == (0, 0)
    with pytest.raises(SettingsError) as refused:
        read_options(["--processes", "-1"])
    assert [each.variable for each in refused.value.problems] == ["HOLDFAST_WORKER_PROCESSES"]


@pytest.mark.parametrize("settings", [Settings, ApiSettings, WorkerSettings])
@pytest.mark.parametrize("nothing", ["", " "])
def test_an_empty_variable_is_unset(settings: type[EnvironmentSettings], nothing: str) -> None:
    names = [str(field.alias) for field in settings.model_fields.values()]
    empty = dict.fromkeys([*names, *(f"{name}_FILE" for name in settings.secrets())], nothing)
    assert settings.read(empty | URL) == settings.read(URL)


def test_variables_that_kubernetes_makes_from_the_names_of_services_are_no_settings() -> None:
    links = {
        f"HOLDFAST_{service}_PORT": "tcp://10.43.0.11:9464"
        for service in ("WORKER_METRICS", "API", "TEMPORAL", "TEMPORAL_UI", "SIMULATOR")
    }
    assert WorkerSettings.read(links) == WorkerSettings.read({})
    assert ApiSettings.read(links) == ApiSettings.read({})
    assert Ports.choose(links, None, simulator=True).api > 0


def refusal(*command: str, **variables: str) -> list[str]:
    """Return the lines that a process prints which these variables do not let start."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", ""), **URL, **variables}
    ran = subprocess.run(
        [sys.executable, "-m", *command], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    return ran.stderr.splitlines()


def test_worker_and_api_print_one_line_for_each_thing_that_is_wrong() -> None:
    wrong = {"INVENTORY_MODE": "x", "TEMPORAL_ADDRESS": '"temporal:7233"', "TEMPORAL_TLS": "maybe"}
    ours = {"HOLDFAST_WORKER_PROCESSES": "two", "HOLDFAST_WORKER_METRICS_PORT": "-1"}
    lines = refusal("worker", **wrong, **ours)
    assert sorted(line.partition(":")[0] for line in lines) == sorted({**wrong, **ours})
    lines = refusal("cli.main", "api", **wrong, HOLDFAST_API_PORT="http", HOLDFAST_API_KEEP_ALIVE_SECONDS="0")
    named = {*wrong, "HOLDFAST_API_PORT", "HOLDFAST_API_KEEP_ALIVE_SECONDS"}
    assert sorted(line.partition(":")[0] for line in lines) == sorted(named)


def test_the_api_keeps_silent_connections_longer_than_balancers_do(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**URL, "INVENTORY_ADMIN_TOKEN": TOKEN}.items():
        monkeypatch.setenv(name, value)
    ran: list[dict[str, object]] = []
    monkeypatch.setattr("uvicorn.run", lambda *_, **options: ran.append(options))
    assert serve("127.0.0.1", None, 1) == 0
    monkeypatch.setenv("HOLDFAST_API_KEEP_ALIVE_SECONDS", "620")
    assert serve("127.0.0.1", None, 1) == 0
    usual, longer = (options["timeout_keep_alive"] for options in ran)
    assert isinstance(usual, int)
    assert usual > 60
    assert longer == 620


def test_a_worker_whose_metrics_port_is_taken_says_so_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        where = {"HOLDFAST_WORKER_METRICS_HOST": "127.0.0.1", "HOLDFAST_WORKER_METRICS_PORT": port}
        [line] = refusal("worker", **where)
        assert line.startswith(f"HOLDFAST_WORKER_METRICS_PORT: metrics cannot be served on 127.0.0.1:{port}")
