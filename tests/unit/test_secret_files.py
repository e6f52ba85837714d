"""Secrets from files: what is read, and what is refused."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.doctor.results import State
from cli.doctor.settings import check_settings, read
from cli.doctor.stripe import check_key_modes
from cli.main import app
from cli.smoke.command import AccessError, read_access
from core.setting_errors import SettingProblem, SettingsError
from core.settings import Settings

TOKEN = "0123456789abcdef" * 4
SECRETS = {
    "DATABASE_URL": "postgresql://ann:pa55word@db/shop",
    "INVENTORY_AUTHORITY_TOKEN": TOKEN,
    "INVENTORY_ADMIN_TOKEN": f"{TOKEN}1,{TOKEN}2",
    "STRIPE_API_KEY": "sk_test_abc",
    "HOLDFAST_BROWSER_TOKEN_SECRET": "6" * 40,
    "HOLDFAST_CHECKOUT_SECRET": "7" * 40,
    "STRIPE_WEBHOOK_SECRET": "whsec_" + "5" * 32,
    "STRIPE_APPROVAL_SECRET": "whsec_" + "7" * 32,
    "STRIPE_SHOPS": "# every shop uses STRIPE_API_KEY",
    "SMTP_URL": "smtp://ann:pa55word@mail",
    "STOCK_ALERT_WEBHOOK_SECRET": "A" * 43 + "=",
    "HOLD_EVENTS_WEBHOOK_SECRET": "B" * 43 + "=",
    "TEMPORAL_API_KEY": "a-key-of-temporal-cloud",
}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """The environment with each secret in a file of its own, as `echo` would write it."""
    for name, value in SECRETS.items():
        (tmp_path / name).write_text(f"{value}\n")
    return {f"{name}_FILE": str(tmp_path / name) for name in SECRETS}


def problem_of(environment: dict[str, str]) -> SettingProblem:
    """Return the one problem for which the environment is refused."""
    with pytest.raises(SettingsError) as refused:
        Settings.read(environment)
    (problem,) = refused.value.problems
    return problem


def test_every_secret_may_come_from_a_file(files: dict[str, str]) -> None:
    assert set(Settings.secrets()) == set(SECRETS)
    assert Settings.read(files) == Settings.read(SECRETS)


def test_a_secret_and_its_file_cannot_both_be_set(files: dict[str, str]) -> None:
    problem = problem_of(files | {"STRIPE_API_KEY": SECRETS["STRIPE_API_KEY"]})
    assert (problem.variable, problem.related) == ("STRIPE_API_KEY", ("STRIPE_API_KEY_FILE",))
    assert Settings.read(files | {"STRIPE_API_KEY": ""}) == Settings.read(files)
    assert Settings.read(SECRETS | {"STRIPE_API_KEY_FILE": ""}) == Settings.read(SECRETS)


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe"])
def test_a_file_without_a_secret_is_named(files: dict[str, str], content: bytes | None) -> None:
    file = Path(files["SMTP_URL_FILE"])
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    problem = problem_of(files)
    assert (problem.variable, problem.related) == ("SMTP_URL", ("SMTP_URL_FILE",))
    assert str(file) in problem.reason


def test_a_file_that_cannot_be_read_is_named(files: dict[str, str], tmp_path: Path) -> None:
    problem = problem_of(files | {"SMTP_URL_FILE": str(tmp_path)})
    assert problem.variable == "SMTP_URL"
    assert str(tmp_path) in problem.reason


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_a_secret_in_place_of_its_file_is_not_repeated(name: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.read({f"{name}_FILE": SECRETS[name]})
    assert refused.value.problems[0].variable == name
    assert SECRETS[name] not in str(refused.value)


def test_a_secret_in_a_file_is_validated(files: dict[str, str]) -> None:
    Path(files["INVENTORY_ADMIN_TOKEN_FILE"]).write_text("short\n")
    assert problem_of(files).variable == "INVENTORY_ADMIN_TOKEN"


def test_the_doctor_masks_a_secret_of_a_file_and_names_the_file(files: dict[str, str]) -> None:
    shown = {line.name: line.found for line in check_settings(read(files))}
    assert shown["DATABASE_URL"] == f"postgresql://ann:•••@db/shop (from {files['DATABASE_URL_FILE']})"
    assert shown["TEMPORAL_API_KEY"].startswith("••• (from ")
    assert not [found for found in shown.values() for secret in SECRETS.values() if secret in found]


def test_the_doctor_checks_a_stripe_key_in_a_file(files: dict[str, str]) -> None:
    (line,) = check_key_modes(read(files))
    assert line.state is State.OK
    (line,) = check_key_modes(read(files | {"STRIPE_PUBLISHABLE_KEY": "pk_live_abc"}))
    assert line.state is State.FAULT


def test_the_doctor_goes_on_without_a_file_that_is_missing(files: dict[str, str]) -> None:
    for name in ("DATABASE_URL", "HOLD_EVENTS_WEBHOOK_SECRET"):
        Path(files[f"{name}_FILE"]).unlink()
    found = read(files | {"HOLD_EVENTS_WEBHOOK_URL": "https://a.example/events"})
    assert set(found.refused) == {"DATABASE_URL", "HOLD_EVENTS_WEBHOOK_SECRET"}
    assert all(files[f"{name}_FILE"] in reason for name, reason in found.refused.items())
    assert not found.database_known
    assert found.settings.stripe_api_key is not None


def test_the_doctor_goes_on_without_a_secret_in_a_file_that_is_refused(files: dict[str, str]) -> None:
    Path(files["INVENTORY_AUTHORITY_TOKEN_FILE"]).write_text("short\n")
    Path(files["STRIPE_API_KEY_FILE"]).write_text("sk_live_abc\n")
    found = read(files | {"STRIPE_API_BASE": "http://127.0.0.1:8010"})
    assert set(found.refused) == {"INVENTORY_AUTHORITY_TOKEN", "STRIPE_API_KEY"}
    assert found.database_known
    assert (found.settings.authority_tokens, found.settings.stripe_api_key) == ((), None)
    others = Settings.read({name: value for name, value in SECRETS.items() if name not in found.refused})
    assert found.settings == others.model_copy(update={"stripe_api_base": "http://127.0.0.1:8010"})


def test_the_smoke_takes_its_tokens_from_files(files: dict[str, str]) -> None:
    access = read_access(files | {"INVENTORY_AUTHORITY_URL": "http://127.0.0.1:1"})
    assert (access.authority_token, access.admin_token) == (TOKEN, f"{TOKEN}1")
    Path(files["INVENTORY_ADMIN_TOKEN_FILE"]).unlink()
    with pytest.raises(AccessError, match="INVENTORY_ADMIN_TOKEN_FILE"):
        read_access(files | {"INVENTORY_AUTHORITY_URL": "http://127.0.0.1:1"})


@pytest.mark.parametrize(
    "command", ["migrate", "stock show --shop demo", "holds list --shop demo", "report", "api", "up"]
)
def test_each_command_names_the_file_that_it_misses(command: str, tmp_path: Path) -> None:
    missing = {"DATABASE_URL_FILE": str(tmp_path / "missing"), "HOLDFAST_HOME": str(tmp_path)}
    unset = dict.fromkeys(("DATABASE_URL", "INVENTORY_AUTHORITY_URL"))
    ran = CliRunner().invoke(app, command.split(), env=missing | unset)
    assert ran.exit_code in (1, 2)
    assert f"DATABASE_URL_FILE names {missing['DATABASE_URL_FILE']}" in " ".join(ran.stderr.split())
