"""The OpenAPI document is true: its examples are valid, and it lists what the routes answer."""

from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from prometheus_client import CollectorRegistry

from api.app import create_app
from api.problems import Problem
from core.settings import Settings
from tests.stack import environment

VERBS = {"get", "put", "post", "delete", "patch"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    settings = Settings.read(environment("postgresql://db/shop"))
    first, app = (create_app(settings, registry=CollectorRegistry()) for _ in range(2))
    first.openapi()
    app.openapi()
    return app.openapi()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, verbs in document["paths"].items():
        for verb, operation in verbs.items():
            assert verb in VERBS
            yield f"{verb} {path}", operation


def contents(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each body that the document describes: of requests and of responses."""
    for name, operation in operations(document):
        for part in (operation.get("requestBody", {}), *operation["responses"].values()):
            if "application/json" in part.get("content", {}):
                yield name, part["content"]["application/json"]


def violations(document: dict[str, Any], schema: dict[str, Any], value: object) -> list[str]:
    whole = {**schema, "components": document["components"]}
    return [str(error) for error in jsonschema_rs.Draft202012Validator(whole).iter_errors(value)]


def test_each_example_of_a_body_is_valid(document: dict[str, Any]) -> None:
    found = 0
    for name, content in contents(document):
        examples = [entry["value"] for entry in content.get("examples", {}).values()]
        examples += [content["example"]] if "example" in content else []
        for example in examples:
            found += 1
            assert violations(document, content["schema"], example) == [], (name, example)
    assert found > 50


def test_each_example_of_a_field_is_valid(document: dict[str, Any]) -> None:
    def check(schema: Any) -> int:
        if isinstance(schema, list):
            return sum(check(part) for part in schema)
        if not isinstance(schema, dict):
            return 0
        for example in schema["examples"] if isinstance(schema.get("examples"), list) else ():
            assert violations(document, schema, example) == [], schema
        return len(schema.get("examples", ())) + sum(check(part) for part in schema.values())

    assert check(document) > 10


def test_each_write_has_an_example_of_its_body(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        if "requestBody" in operation:
            assert all("example" in body for body in operation["requestBody"]["content"].values()), name


def test_each_error_is_listed_where_it_can_come(document: dict[str, Any]) -> None:
    listed = {
        name: {
            error
            for response in operation["responses"].values()
            for error in response.get("content", {}).get("application/json", {}).get("examples", {})
        }
        for name, operation in operations(document)
    }
    everywhere = set.union(*listed.values())
    outside = {"not_found", "method_not_allowed", "internal_error"}  # of any route
    outside |= {"invalid_http", "request_timed_out", "headers_too_large", "too_many_connections"}
    assert everywhere | outside == {problem.name for problem in Problem}
    assert listed["put /api/inventory/items"] >= {"forbidden", "count_below_held"}
    assert listed["post /api/inventory/holds"] >= {"insufficient_stock", "hold_exists", "idempotency_conflict"}
    assert "hold_extend_limit" not in listed["post /api/inventory/holds"]


def test_each_operation_says_what_it_does_under_a_short_name(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, operation in operations(document)]
    assert len(set(names)) == len(names)
    assert all(len(name) < 20 for name in names)
    assert all(operation["summary"] and operation["description"] for _, operation in operations(document))


def test_what_needs_a_token_says_so(document: dict[str, Any]) -> None:
    open_to_all = {
        "get /api/inventory/health",
        "get /readyz",
        "get /livez",
        "get /metrics",
        "post /api/webhooks/stripe",
        "post /api/checkout/approvals",
    }
    for name, operation in operations(document):
        assert ("security" in operation) == (name not in open_to_all), name
        assert ("401" in operation["responses"]) == (name not in open_to_all), name


def test_each_operation_and_each_of_its_answers_has_the_requests_id_once(document: dict[str, Any]) -> None:
    given, named = "#/components/parameters/RequestId", "#/components/headers/RequestId"
    for name, operation in operations(document):
        assert [each for each in operation["parameters"] if each.get("$ref") == given] == [{"$ref": given}], name
        for response in operation["responses"].values():
            assert response["headers"]["X-Request-ID"] == {"$ref": named}, name
    assert document["components"]["parameters"]["RequestId"]["name"] == "X-Request-ID"
