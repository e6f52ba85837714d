"""The way to Temporal, as the environment says it."""

import pytest
from pydantic import SecretStr

from core.setting_errors import SettingsError
from core.temporal import connect_config

HERE = {"target_host": "localhost:7233"}


def test_what_is_empty_is_not_set() -> None:
    empty = dict.fromkeys(("ADDRESS", "NAMESPACE", "API_KEY", "TLS", "TLS_SERVER_NAME", "TLS_CLIENT_CERT_PATH"), "")
    given = {f"TEMPORAL_{name}": value for name, value in empty.items()}
    assert connect_config(None, {**given, "TEMPORAL_CONFIG_FILE": "/dev/null"}) == HERE


@pytest.mark.parametrize(("changes", "tls"), [({}, True), ({"TEMPORAL_TLS": "false"}, False)])
def test_a_key_turns_tls_on_unless_it_is_turned_off(changes: dict[str, str], tls: bool) -> None:
    given = {"TEMPORAL_CONFIG_FILE": "/dev/null", **changes}
    assert connect_config(SecretStr("a-key"), given) == {**HERE, "api_key": "a-key", "tls": tls}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TEMPORAL_ADDRESS", '"localhost:7233"'),
        ("TEMPORAL_ADDRESS", " localhost:7233"),
        ("TEMPORAL_ADDRESS", "local host:7233"),
        ("TEMPORAL_ADDRESS", "https://localhost:7233"),
        ("TEMPORAL_ADDRESS", "localhost"),
        ("TEMPORAL_ADDRESS", "localhost:99999"),
        ("TEMPORAL_ADDRESS", "tcp://10.43.0.11:7233"),
        ("TEMPORAL_NAMESPACE", '"default"'),
        ("TEMPORAL_NAMESPACE", "default "),
        ("TEMPORAL_TLS", "banana"),
        ("TEMPORAL_TLS_SERVER_NAME", "'temporal'"),
        ("TEMPORAL_TLS_CLIENT_KEY_PATH", " /run/secrets/client.key"),
    ],
)
def test_what_the_library_would_fail_on_later_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as refused:
        connect_config(None, {"TEMPORAL_CONFIG_FILE": "/dev/null", name: value})
    assert [problem.variable for problem in refused.value.problems] == [name]


@pytest.mark.parametrize("address", ["temporal:7233", "temporal-frontend.prod:443", "10.0.0.7:7233", "[::1]:7233"])
def test_an_address_is_a_host_and_a_port(address: str) -> None:
    given = {"TEMPORAL_CONFIG_FILE": "/dev/null", "TEMPORAL_ADDRESS": address}
    assert connect_config(None, given) == {"target_host": address}


@pytest.mark.parametrize(
    ("value", "tls"), [("true", True), ("1", True), ("false", False), ("0", False), ("TRUE", True)]
)
def test_tls_is_true_or_false(value: str, tls: bool) -> None:
    given = {"TEMPORAL_CONFIG_FILE": "/dev/null", "TEMPORAL_TLS": value}
    assert bool(connect_config(None, given).get("tls")) is tls
