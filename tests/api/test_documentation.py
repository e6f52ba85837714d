"""The documentation pages come from the API alone: they work without the Internet."""

import re

import httpx
import pytest

from tests.stack import Stack

ADDRESS = re.compile(r"""(?:src|href|url: )=?\s*["'](?!data:|#)([^"']+)["']""")


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_every_part_of_a_page_is_served_here(shared: Stack, path: str) -> None:
    async with httpx.AsyncClient(base_url=shared.url, follow_redirects=True) as http:
        page = await http.get(path)
        assert page.headers["Content-Type"].startswith("text/html")
        addresses = ADDRESS.findall(page.text)
        assert len(addresses) >= 2
        for address in addresses:
            assert (await http.get(page.url.join(address))).status_code == 200, address
            assert page.url.join(address).host == page.url.host, address


async def test_the_root_leads_to_the_documentation(shared: Stack) -> None:
    async with httpx.AsyncClient(base_url=shared.url) as http:
        assert (await http.get("/")).headers["Location"] == "/docs"
