"""Postgres and Temporal over TLS: a hold through it, and the doctor's fix for each mistake."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from temporalio.client import Client
from typer.testing import CliRunner

from cli.doctor import temporal_tls
from cli.doctor.certificates import check_certificates
from cli.doctor.database import check_database
from cli.doctor.settings import read
from cli.doctor.temporal import check_temporal
from cli.main import app
from cli.migrate import migrate
from core.settings import Settings
from core.temporal import connect
from tests.commands import holdfast
from tests.operations.diagnosis import faults
from tests.stack import running_stack
from tests.tls import Authority, Certificate, tls_before
from worker import main as worker

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")

TEMPORAL_NAME = "temporal.example"


@dataclass
class Encrypted:
    """Temporal behind mutual TLS."""

    authority: Authority
    client: Certificate
    address: str

    def variables(self, **changes: str) -> dict[str, str]:
        """Return the TEMPORAL_* variables of a client that the server accepts, with changes."""
        return {
            "TEMPORAL_ADDRESS": self.address,
            "TEMPORAL_TLS_SERVER_CA_CERT_PATH": str(self.authority.ca),
            "TEMPORAL_TLS_CLIENT_CERT_PATH": str(self.client.cert),
            "TEMPORAL_TLS_CLIENT_KEY_PATH": str(self.client.key),
            **changes,
        }


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "authority")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Somebody else's authority."""
    return Authority(tmp_path_factory.mktemp("tls") / "stranger")


@pytest.fixture(scope="module")
def server(authority: Authority) -> Certificate:
    return authority.issue("server", f"IP:127.0.0.1,DNS:{TEMPORAL_NAME}")


@pytest.fixture(scope="module")
def client(authority: Authority) -> Certificate:
    return authority.issue("client", "DNS:holdfast")


@pytest.fixture
async def encrypted(
    authority: Authority, server: Certificate, client: Certificate, temporal: Client
) -> AsyncIterator[Encrypted]:
    port = int(temporal.service_client.config.target_host.rpartition(":")[2])
    async with tls_before(port, authority.context(server, mutual=True)) as gateway:
        yield Encrypted(authority, client, f"127.0.0.1:{gateway}")


@pytest.fixture
async def encrypted_database(
    authority: Authority, server: Certificate, client: Certificate, database: str
) -> AsyncIterator[str]:
    """The URL of a fresh database that wants TLS and a certificate."""
    before, _, rest = database.rpartition("@127.0.0.1:")
    port, _, name = rest.partition("/")
    async with tls_before(int(port), authority.context(server, mutual=True), postgres=True) as gateway:
        trust = f"sslmode=verify-full&sslrootcert={authority.ca}"
        yield f"{before}@127.0.0.1:{gateway}/{name}?{trust}&sslcert={client.cert}&sslkey={client.key}"


async def test_a_hold_is_made_and_committed_over_mutual_tls_only(
    encrypted: Encrypted, encrypted_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in encrypted.variables().items():
        monkeypatch.setenv(name, value)  # which the API reads
    async with running_stack(encrypted_database, await connect(None)) as stack:
        await stack.put(2)
        hold = await stack.made()
        assert (await stack.post(hold["holdId"], "commit")).status_code == 200
        await stack.run_of(hold["holdId"]).result()
        audit = await holdfast(stack, "audit", **encrypted.variables())
        assert (audit.code, audit.err) == (0, ""), audit.out
        shown = await holdfast(
            stack, "holds", "show", hold["holdId"], "--shop", hold["shopId"], **encrypted.variables()
        )
        assert "committed" in shown.out
        report = await holdfast(stack, "report", "--json")
        assert '"committed": 1' in report.out
    assert await asyncio.to_thread(migrate, encrypted_database) == ["already at " + await head(encrypted_database)]


async def head(database: str) -> str:
    lines = await check_database(Settings.read({"DATABASE_URL": database}), 2)
    (at,) = [line.found for line in lines if line.name == "migrations"]
    return at.removeprefix("at ").partition(",")[0] + " (head)"


async def test_the_doctor_reports_how_the_database_connection_is_encrypted(
    encrypted_database: str, database: str
) -> None:
    async def reached(url: str) -> str:
        lines = await check_database(Settings.read({"DATABASE_URL": url}), 2)
        assert faults(lines) == {}
        return lines[0].found

    assert "verify-full" in await reached(encrypted_database)
    unverified = encrypted_database.replace("verify-full", "require").replace("sslrootcert", "application_name")
    assert "sslmode=require" in await reached(unverified)
    assert (await reached(database)).endswith("not encrypted")


async def test_a_database_that_is_not_the_trusted_one_is_refused(encrypted_database: str, stranger: Authority) -> None:
    wrong = encrypted_database.partition("?")[0] + f"?sslmode=verify-full&sslrootcert={stranger.ca}"
    found = faults(await check_database(Settings.read({"DATABASE_URL": wrong}), 2))["database: reachable"]
    assert "sslrootcert" in found


async def test_the_doctor_reports_whether_temporal_is_reached_by_tls(encrypted: Encrypted, temporal: Client) -> None:
    lines = await check_temporal(encrypted.variables(), task_queue="nobody", release="0.1.0")
    assert lines[0].found.endswith(", encrypted")
    named = encrypted.variables(TEMPORAL_TLS_SERVER_NAME=TEMPORAL_NAME)
    assert (await check_temporal(named, task_queue="nobody", release="0.1.0"))[0].found == lines[0].found
    plain = {"TEMPORAL_ADDRESS": temporal.service_client.config.target_host}
    assert (await check_temporal(plain, task_queue="nobody", release="0.1.0"))[0].found.endswith(", not encrypted")


@pytest.mark.parametrize("days", [5, 60])
async def test_a_certificate_that_ends_soon_is_a_fault_of_each_server(
    authority: Authority, database: str, temporal: Client, days: int
) -> None:
    server = authority.issue(f"server-{days}", f"IP:127.0.0.1,DNS:{TEMPORAL_NAME}", days)
    port = int(temporal.service_client.config.target_host.rpartition(":")[2])
    before, _, rest = database.rpartition("@127.0.0.1:")
    database_port, _, name = rest.partition("/")
    async with (
        tls_before(port, authority.context(server)) as gateway,
        tls_before(int(database_port), authority.context(server), postgres=True) as database_gateway,
    ):
        own = authority.issue(f"client-{days}", "DNS:holdfast", 60)
        variables = Encrypted(authority, own, f"127.0.0.1:{gateway}").variables()
        variables["DATABASE_URL"] = f"{before}@127.0.0.1:{database_gateway}/{name}?sslmode=require"
        lines = await check_certificates(read(variables))
    assert [line.name for line in lines] == ["postgres", "temporal", "temporal-client"]
    assert all(f"{days} days" in line.found for line in lines[:2])
    expected = {"certificates: postgres", "certificates: temporal"} if days == 5 else set()
    assert set(faults(lines)) == expected


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"TEMPORAL_TLS_SERVER_CA_CERT_PATH": "stranger"}, temporal_tls.SERVER_CA),
        ({"TEMPORAL_TLS_SERVER_CA_CERT_PATH": ""}, temporal_tls.SERVER_CA),
        ({"TEMPORAL_TLS_SERVER_CA_CERT_PATH": "/missing.pem"}, "/missing.pem"),
        ({"TEMPORAL_TLS_SERVER_NAME": "wrong.example"}, temporal_tls.SERVER_NAME),
        ({"TEMPORAL_TLS_CLIENT_KEY_PATH": ""}, "TEMPORAL_TLS_CLIENT_KEY_PATH"),
        ({"TEMPORAL_TLS_CLIENT_KEY_PATH": "stranger"}, temporal_tls.KEY_PAIR),
        (
            {"TEMPORAL_TLS_CLIENT_CERT_PATH": "", "TEMPORAL_TLS_CLIENT_KEY_PATH": ""},
            temporal_tls.CLIENT_CERTIFICATE,
        ),
        ({"TEMPORAL_PROFILE": "nobodys"}, "nobodys"),
    ],
)
async def test_a_mistake_in_the_connection_to_temporal_has_its_fix(
    encrypted: Encrypted, stranger: Authority, changes: dict[str, str], named: str
) -> None:
    others = stranger.issue("client", "DNS:holdfast")
    files = {"TEMPORAL_TLS_SERVER_CA_CERT_PATH": stranger.ca, "TEMPORAL_TLS_CLIENT_KEY_PATH": others.key}
    given = {name: str(files[name]) if value == "stranger" else value for name, value in changes.items()}
    lines = await check_temporal(encrypted.variables(**given), task_queue="nobody", release="0.1.0")
    assert named in faults(lines)["temporal: reachable"]


async def test_tls_that_only_one_side_uses_has_its_fix(encrypted: Encrypted, temporal: Client) -> None:
    given = {"TEMPORAL_ADDRESS": temporal.service_client.config.target_host, "TEMPORAL_TLS": "true"}
    lines = await check_temporal(given, task_queue="nobody", release="0.1.0")
    assert temporal_tls.NO_TLS in faults(lines)["temporal: reachable"]
    lines = await check_temporal({"TEMPORAL_ADDRESS": encrypted.address}, task_queue="nobody", release="0.1.0")
    assert temporal_tls.TLS_REQUIRED in faults(lines)["temporal: reachable"]


def test_api_and_worker_do_not_start_without_their_certificate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:1/none")
    monkeypatch.setenv("INVENTORY_ADMIN_TOKEN", "b" * 40)
    monkeypatch.setenv("TEMPORAL_TLS_SERVER_CA_CERT_PATH", "/missing.pem")
    ran = CliRunner().invoke(app, ["api"])
    assert ran.exit_code == 2
    assert "TEMPORAL_TLS_SERVER_CA_CERT_PATH" in ran.stderr
    assert worker([]) == 2
    assert "TEMPORAL_TLS_SERVER_CA_CERT_PATH" in capsys.readouterr().err
