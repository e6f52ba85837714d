"""The documentation pages in a browser that reaches nothing but the API."""

from playwright.async_api import Page, Route, expect

from tests.stack import Stack


async def test_the_documentation_works_without_the_internet(stack: Stack, page: Page) -> None:
    outside: list[str] = []

    async def refuse(route: Route) -> None:
        outside.append(route.request.url)
        await route.abort()

    await page.route(lambda url: not url.startswith((stack.url, "data:", "blob:")), refuse)
    await page.goto(f"{stack.url}/docs")
    await expect(page.get_by_text("Hold stock for a checkout").filter(visible=True).first).to_be_visible()
    assert outside == []
