"""The environment: what is wrong is refused by name, with what is allowed."""

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from api.app import create_app
from core.settings import Mode, Settings, SettingsError

URL = {"DATABASE_URL": "postgresql://ann:pa55word@db/shop"}
TOKEN = "0123456789abcdef" * 4


def refusal(**changes: str) -> str:
    """Return the one line with which the environment is refused."""
    with pytest.raises(SettingsError) as refused:
        Settings.read(URL | changes)
    message = str(refused.value)
    assert "\n" not in message
    assert "pa55word" not in message
    return message


def test_what_is_not_set_has_its_default() -> None:
    settings = Settings.read(URL)
    assert (settings.mode, settings.bypass, settings.backend) == (Mode.VALIDATE_ONLY, False, "postgres")
    assert (settings.ttl_seconds, settings.max_ttl_seconds) == (1200, 3600)
    assert (settings.lock_timeout_ms, settings.request_timeout_ms) == (2000, 5000)
    assert settings.authority_tokens == settings.admin_tokens == ()


def test_spans_go_where_opentelemetrys_variables_say_and_nowhere_without_them() -> None:
    base, whole = "http://collector:4318/", "https://traces.example.com/otlp"
    assert Settings.read(URL).spans_url == ""
    assert Settings.read({**URL, "OTEL_EXPORTER_OTLP_ENDPOINT": ""}).spans_url == ""
    assert Settings.read({**URL, "OTEL_EXPORTER_OTLP_ENDPOINT": base}).spans_url == "http://collector:4318/v1/traces"
    both = {"OTEL_EXPORTER_OTLP_ENDPOINT": base, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": whole}
    assert Settings.read({**URL, **both}).spans_url == whole


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("INVENTORY_MODE", "reserve", "validate_only, reserve_ttl"),
        ("INVENTORY_MODE", "", "validate_only, reserve_ttl"),
        ("INVENTORY_MODE", "RESERVE_TTL", "validate_only, reserve_ttl"),
        ("INVENTORY_HOLD_TTL_SECONDS", "29", "30 to INVENTORY_HOLD_MAX_TTL_SECONDS"),
        ("INVENTORY_HOLD_TTL_SECONDS", "20m", "30 to INVENTORY_HOLD_MAX_TTL_SECONDS"),
        ("INVENTORY_HOLD_TTL_SECONDS", "3601", "30 to 3600"),
        ("INVENTORY_HOLD_MAX_TTL_SECONDS", "29", "30 to 86400"),
        ("INVENTORY_HOLD_MAX_TTL_SECONDS", "86401", "30 to 86400"),
        ("SKIP_INVENTORY_VALIDATION", "maybe", "0, 1"),
        ("SKIP_INVENTORY_VALIDATION", "", "0, 1"),
        ("INVENTORY_LOCK_TIMEOUT_MS", "49", "50 to 4000"),
        ("INVENTORY_LOCK_TIMEOUT_MS", "2s", "50 to 4000"),
        ("INVENTORY_REQUEST_TIMEOUT_MS", "30001", "500 to 30000"),
        ("INVENTORY_DATABASE_POOL_SIZE", "0", "1 to 64"),
        ("HOLDFAST_LOG_FORMAT", "xml", "auto, json, text"),
        ("INVENTORY_BACKEND", "mysql", "postgres"),
        ("STRIPE_API_KEY", "pk_test_public", "sk_test_"),
        ("STRIPE_WEBHOOK_SECRET", "secret", "whsec_"),
        ("STRIPE_WEBHOOK_SECRET", "whsec_one,two", "whsec_"),
        ("STRIPE_API_BASE", "localhost:8010", "a bare address"),
        ("STRIPE_API_BASE", "http://localhost:8010/v1", "a bare address"),
        ("LATE_PAYMENT_POLICY", "ignore", "reacquire_or_refund, refund, keep"),
        ("PAYMENT_GRACE_SECONDS", "sepa_debit=14d", "in seconds"),
        ("PAYMENT_GRACE_SECONDS", "sepa_debit=29", "30 to 5184000 seconds"),
        ("PAYMENT_CLOSE_GRACE_SECONDS", "-1", "0 to 604800"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "must be a URL that begins with http:// or https://"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "grpc://collector:4317", "must be a URL that begins with http://"),
        ("DATABASE_URL", "mysql://db/shop", "postgresql:// URL"),
        ("DATABASE_URL", "", "postgresql:// URL"),
        ("INVENTORY_AUTHORITY_TOKEN", "short", "openssl rand -hex 32"),
        ("INVENTORY_ADMIN_TOKEN", "short", "openssl rand -hex 32"),
        ("INVENTORY_ADMIN_TOKEN", "ä" * 40, "openssl rand -hex 32"),
        ("INVENTORY_ADMIN_TOKEN", "a b" * 20, "openssl rand -hex 32"),
    ],
)
def test_a_wrong_value_is_refused_with_its_name_and_what_is_allowed(name: str, value: str, allowed: str) -> None:
    message = refusal(**{name: value})
    assert message.startswith(f"{name}: ")
    assert allowed in message


def test_a_ceiling_below_the_default_time_to_live_names_both() -> None:
    message = refusal(INVENTORY_HOLD_MAX_TTL_SECONDS="600")
    assert "INVENTORY_HOLD_TTL_SECONDS" in message
    assert "INVENTORY_HOLD_MAX_TTL_SECONDS (600)" in message


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.read({"INVENTORY_MODE": "x", "INVENTORY_LOCK_TIMEOUT_MS": "x"})
    names = [line.partition(":")[0] for line in str(refused.value).splitlines()]
    assert sorted(names) == ["DATABASE_URL", "INVENTORY_LOCK_TIMEOUT_MS", "INVENTORY_MODE"]


def test_a_missing_database_url_is_named() -> None:
    with pytest.raises(SettingsError, match="DATABASE_URL: is not set"):
        Settings.read({})


@pytest.mark.parametrize("parameter", ["schema=public", "pgbouncer=true", "connection_limit=5", "pool_timeout=10"])
def test_parameters_that_only_prisma_knows_are_refused_by_name(parameter: str) -> None:
    message = refusal(DATABASE_URL=f"postgresql://ann:pa55word@db/shop?sslmode=require&{parameter}")
    assert parameter.partition("=")[0] in message
    assert "Prisma" in message


def test_a_parameter_that_nobody_knows_is_named() -> None:
    assert "foo" in refusal(DATABASE_URL="postgresql://ann:pa55word@db/shop?foo=1")


def test_a_password_that_is_not_encoded_is_explained_and_not_repeated() -> None:
    assert "%XX" in refusal(DATABASE_URL="postgresql://ann:pa55word@so me@db/shop")


@pytest.mark.parametrize(
    "url", ["postgres://db/shop", "postgresql://ann:p%40ss@db:5433/shop?sslmode=require&application_name=shop"]
)
def test_a_url_that_psql_accepts_is_accepted(url: str) -> None:
    assert Settings.read({"DATABASE_URL": url}).database_url.get_secret_value() == url


@pytest.mark.parametrize(
    "placeholder", ["your-secure-token-here-and-some-more-of-it", "<generate-with-openssl-rand-hex-32>", "changeme" * 5]
)
def test_the_checklist_s_placeholders_are_no_tokens(placeholder: str) -> None:
    assert "placeholder" in refusal(INVENTORY_AUTHORITY_TOKEN=placeholder)


def test_two_tokens_may_stand_side_by_side_and_not_three() -> None:
    both = Settings.read(URL | {"INVENTORY_ADMIN_TOKEN": f" {TOKEN} , {TOKEN}1,"}).admin_tokens
    assert [token.get_secret_value() for token in both] == [TOKEN, f"{TOKEN}1"]
    assert "more than two" in refusal(INVENTORY_ADMIN_TOKEN=f"{TOKEN},{TOKEN}1,{TOKEN}2")
    assert "shorter" in refusal(INVENTORY_ADMIN_TOKEN=f"{TOKEN},short")


def test_secrets_are_not_shown() -> None:
    settings = Settings.read(URL | {"INVENTORY_ADMIN_TOKEN": TOKEN})
    assert TOKEN not in repr(settings)
    assert "pa55word" not in repr(settings)
    assert TOKEN[:31] not in refusal(INVENTORY_ADMIN_TOKEN=TOKEN[:31])


async def test_the_earlier_implementation_s_backend_is_read_as_postgres_with_a_warning() -> None:
    settings = Settings.read(URL | {"INVENTORY_BACKEND": "prisma", "INVENTORY_ADMIN_TOKEN": TOKEN})
    app = create_app(settings, registry=CollectorRegistry())
    with capture_logs() as logs:
        async with app.router.lifespan_context(app):
            pass
    assert [log["log_level"] for log in logs if "INVENTORY_BACKEND" in log["event"]] == ["warning"]


def test_without_a_token_nobody_could_be_told_apart() -> None:
    with pytest.raises(SettingsError, match="INVENTORY_AUTHORITY_TOKEN, INVENTORY_ADMIN_TOKEN: neither is set"):
        Settings.read(URL).require_tokens()
    Settings.read(URL | {"INVENTORY_AUTHORITY_TOKEN": TOKEN}).require_tokens()


@pytest.mark.parametrize("key", ["sk_live_abc", "rk_live_abc"])
def test_a_live_key_is_refused_with_the_simulators_address(key: str) -> None:
    message = refusal(STRIPE_API_KEY=key, STRIPE_API_BASE="http://127.0.0.1:8010")
    assert "STRIPE_API_KEY" in message
    assert "STRIPE_API_BASE" in message
    assert key not in message
    Settings.read(URL | {"STRIPE_API_KEY": key})
    Settings.read(URL | {"STRIPE_API_KEY": "sk_test_abc", "STRIPE_API_BASE": "http://127.0.0.1:8010"})


def test_what_concerns_payments_is_read() -> None:
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
