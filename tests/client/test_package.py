"""The distribution: typed, independent of Holdfast's code, and its README's program runs."""

import asyncio
import inspect
import re
import subprocess
import sys
import zipfile
from pathlib import Path

from holdfast_client import AsyncInventoryAuthorityClient, InventoryAuthorityClient, errors
from tests.paying import Shop
from tests.stack import AUTHORITY_TOKEN

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "clients" / "python"
CALLS = {
    "health_check",
    "validate",
    "create_hold",
    "commit",
    "release",
    "extend",
    "get_hold",
    "create_checkout_session",
}

_IMPORTED = """
import sys
before = set(sys.modules)
import holdfast_client
server = {
    "activities", "api", "cli", "core", "dev", "domain", "holds", "inventory", "migrations", "payments", "worker",
    "workflows",
}
print(sorted({name.partition(".")[0] for name in set(sys.modules) - before} & (server | {"pydantic", "temporalio"})))
"""


def test_the_wheel_is_typed_and_needs_httpx_and_its_httpcore_only(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=CLIENT, check=True, capture_output=True)
    [wheel] = tmp_path.glob("holdfast_client-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        [metadata] = [archive.read(name).decode() for name in archive.namelist() if name.endswith("METADATA")]
        licences = [name for name in archive.namelist() if name.endswith("licenses/LICENSE")]
        assert archive.read(licences[0]) == (ROOT / "LICENSE").read_bytes()
    assert names == {
        f"holdfast_client/{path.name}" for path in (CLIENT / "src/holdfast_client").iterdir() if path.suffix
    }
    assert "holdfast_client/py.typed" in names
    assert re.findall(r"^Requires-Dist: (\w+)", metadata, re.MULTILINE) == [
        "httpcore",
        "httpx",
    ]
    code = f"import sys; sys.path.insert(0, {str(wheel)!r})" + _IMPORTED
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert ran.stdout.strip() == "[]"


def test_both_clients_have_the_same_calls_with_the_same_arguments() -> None:
    for name in CALLS:
        sync, coroutine = getattr(InventoryAuthorityClient, name), getattr(AsyncInventoryAuthorityClient, name)
        assert inspect.iscoroutinefunction(coroutine)
        assert not inspect.iscoroutinefunction(sync)
        assert inspect.signature(sync) == inspect.signature(coroutine)


def test_every_exception_is_an_inventory_authority_error() -> None:
    kinds = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, Exception)]
    assert all(issubclass(kind, errors.InventoryAuthorityError) for kind in kinds)


async def test_the_readmes_program_sells(corner: Shop) -> None:
    [program] = re.findall(r"```python\n(.*?)```", (CLIENT / "README.md").read_text(), re.DOTALL)
    item = {"sku": "TEE", "variantKey": "size:M", "onHand": 3}
    await corner.stack.http.put("/api/inventory/items", json={"shopId": "demo", "items": [item]})
    program = program.replace("https://holdfast.example", corner.stack.url)
    program = program.replace("the authority token", AUTHORITY_TOKEN)
    short = "ShortItem(sku='TEE', variant_key='size:M', requested=2, available=1, reason='insufficient')"
    for output in ("", f"Sold out: ({short},)\n"):
        command = [sys.executable, "-W", "error", "-c", program]
        ran = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
        assert (ran.stdout, ran.stderr) == (output, "")
    answer = await corner.stack.http.get("/api/inventory/items", params={"shopId": "demo", "sku": "TEE"})
    assert (answer.json()["items"][0]["quantity"], answer.json()["items"][0]["held"]) == (1, 0)
