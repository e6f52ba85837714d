"""The size of a worker's cache follows from the memory that it may use."""

from pathlib import Path

import pytest

from core.process_memory import MemoryLimit, memory_limit
from core.worker_cache import MOST, cached_workflows

GIB = 2**30


@pytest.mark.parametrize(
    ("groups", "files", "limit"),
    [
        ("0::/pod/worker", {"pod/worker/memory.max": f"{GIB}"}, GIB),
        ("0::/pod/worker", {"pod/memory.max": f"{GIB}", "pod/worker/memory.max": "max"}, GIB),
        ("0::/", {"memory.max": f"{GIB}"}, GIB),
        ("4:memory:/docker/1\n0::/", {"memory/docker/1/memory.limit_in_bytes": f"{GIB}"}, GIB),
        ("4:memory:/docker/1", {"memory/memory.limit_in_bytes": f"{GIB}"}, GIB),
        ("4:memory:/docker/1", {"memory/memory.limit_in_bytes": f"{2**63 - 4096}"}, None),
        ("1:cpu:/", {}, None),
    ],
    ids=["v2", "v2 of the parent", "v2 in a container", "v1", "v1 in a container", "v1 without one", "no group"],
)
def test_the_limit_is_that_of_the_control_group(
    groups: str, files: dict[str, str], limit: int | None, tmp_path: Path
) -> None:
    (tmp_path / "own").write_text(groups)
    for name, text in files.items():
        file = tmp_path / "groups" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    found = memory_limit(tmp_path / "groups", tmp_path / "own")
    assert (found.size, found.own) == (limit, True) if limit else not found.own


def test_the_cache_fits_into_the_memory_of_all_processes() -> None:
    small = 300 * 2**20
    of_one = cached_workflows(MemoryLimit(small, own=True), 1)
    assert of_one * 89 * 1024 < 0.9 * small
    assert 2 * cached_workflows(MemoryLimit(small, own=True), 2) < of_one
    assert cached_workflows(MemoryLimit(small, own=False), 1) < of_one
    assert cached_workflows(MemoryLimit(64 * GIB, own=True), 1) == MOST
    assert cached_workflows(MemoryLimit(GIB // 16, own=True), 4) > 0


@pytest.mark.parametrize("limit", [512, 768, 1024, 2560])
def test_a_full_cache_of_larger_holds_fits_into_the_limit(limit: int) -> None:
    """A process takes 104 MiB at rest, and a hold of one line 89 KiB."""
    cached = cached_workflows(MemoryLimit(limit * 2**20, own=True), 1)
    assert 104 * 2**20 + cached * 89 * 1.25 * 1024 < limit * 2**20
