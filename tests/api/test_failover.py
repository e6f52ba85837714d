"""One address of Postgres that leads to the primary, then to its replica, and to the primary again."""

import asyncio
import subprocess
from collections.abc import Iterator

import pytest
from temporalio.client import Client

from dev.harness.invariants import assert_stock_adds_up
from dev.postgres import EmbeddedPostgres, postgres_binaries
from tests.api.asking import ITEMS, refused
from tests.e2e.wire import wire_to
from tests.servers import FAST
from tests.stack import SHOP, Stack, running_stack
from tests.waiting import until

CONNECTIONS = 8


@pytest.fixture
def replica(own_postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server that follows `own_postgres`, and so accepts no writes."""
    folder = tmp_path_factory.mktemp("replica")
    command = [str(postgres_binaries() / "pg_basebackup"), "--pgdata", str(folder / "data"), "--write-recovery-conf"]
    subprocess.run([*command, "--checkpoint=fast", "--dbname", own_postgres.url], check=True, capture_output=True)
    server = EmbeddedPostgres(folder, settings=FAST)
    server.start()
    yield server
    server.stop()


async def readiness_is(stack: Stack, expected: str) -> bool:
    """Tell whether readiness says of the database `ok`, or the reason for which it cannot be used."""
    check = (await stack.http.get("/readyz")).json()["checks"]["database"]
    return bool((check.get("reason") or check["status"]) == expected)


@pytest.mark.parametrize("parameter", ["", "?target_session_attrs=any"])
async def test_an_address_that_leads_to_a_replica_for_a_while_is_written_again(
    own_postgres: EmbeddedPostgres, replica: EmbeddedPostgres, temporal: Client, parameter: str
) -> None:
    async with wire_to(own_postgres.url) as wire, running_stack(wire.url + parameter, temporal) as stack:

        async def ask_at_once() -> set[int]:
            """Use every connection of the pool."""
            asked = [stack.http.get(ITEMS, params={"shopId": SHOP}) for _ in range(CONNECTIONS)]
            return {answer.status_code for answer in await asyncio.gather(*asked)}

        await stack.put(10)
        await stack.made()
        assert await ask_at_once() == {200}

        wire.lead_to(replica.url)
        wire.cut()
        wire.mend()
        await until(lambda: readiness_is(stack, "read_only"), "the API says that it is read-only")
        # With the URL's own wish for any server, the pool is filled with connections to the replica, which can be read.
        assert await ask_at_once() == ({200} if parameter else {503})
        items = {"shopId": SHOP, "items": [{"sku": "TEE", "onHand": 9}]}
        refused(await stack.http.put(ITEMS, json=items), 503, "inventory_unavailable")

        wire.lead_to(own_postgres.url)  # connections to the replica stay open

        await until(lambda: readiness_is(stack, "ok"), "the API is ready again")
        for _ in range(CONNECTIONS if parameter else 0):  # each refusal makes the pool replace a connection
            await stack.http.put(ITEMS, json=items)
        assert await ask_at_once() == {200}
        for _ in range(CONNECTIONS):
            assert (await stack.http.put(ITEMS, json=items)).status_code == 200
        await stack.made()
        assert await stack.stock_of() == (7, 2)
        await assert_stock_adds_up(stack.engine)
