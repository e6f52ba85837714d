"""The way to Temporal, as the environment says it."""

import pytest
from pydantic import SecretStr

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
