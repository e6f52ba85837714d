"""The settings of what the shopper's browser may do with its own hold."""

import re
from typing import Annotated

from pydantic import Field, SecretStr, field_validator

from core.environment_settings import Allowed, EnvironmentSettings
from core.setting_values import MIN_SECRET_LENGTH, long_secrets, split_list, split_url
from domain.names import NAME_PATTERN

_PORTS = {"https": 443, "http": 80}
_SHOPS_ORIGIN = re.compile(rf"(?:({NAME_PATTERN})=)?(\S+)")


def _is_origin(text: str) -> bool:
    """Whether browsers can send this origin; any other would allow nothing. Raises ValueError for what is no URL."""
    url = split_url(text, *_PORTS)
    port = "" if url.port in (None, _PORTS[url.scheme]) else f":{url.port}"
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
    return text == f"{url.scheme}://{host}{port}" and text.isascii() and "*" not in text


class BrowserSettings(EnvironmentSettings):
    """The browser routes are off unless HOLDFAST_BROWSER_TOKEN_SECRET is set."""

    browser_token_secrets: Annotated[
        tuple[SecretStr, ...], Allowed(f"{MIN_SECRET_LENGTH} or more characters; at most two, comma-separated")
    ] = Field(
        default=(),
        alias="HOLDFAST_BROWSER_TOKEN_SECRET",
        description="Signs the `holdToken` of each hold, with which the shopper's browser may read, extend and release "
        "that hold. Two during a rotation: the first signs, both are accepted. Without it, answers have no `holdToken` "
        "and the [browser routes](browser.md) refuse every request.",
    )
    browser_origins: Annotated[
        tuple[str, ...], Allowed("`https://shop.example`, or of one shop `shopId=https://shop.example`")
    ] = Field(
        default=(),
        alias="HOLDFAST_BROWSER_ORIGINS",
        description="The origins whose pages may call the browser routes, comma-separated. An origin without `shopId=` "
        "is allowed for every shop.",
    )

    @field_validator("browser_token_secrets", mode="before")
    @classmethod
    def _check_secrets(cls, value: object) -> object:
        return long_secrets(value)

    @field_validator("browser_origins", mode="before")
    @classmethod
    def _check_origins(cls, value: object) -> object:
        entries = split_list(value)
        if not isinstance(entries, tuple):
            return entries
        for entry in entries:
            match = _SHOPS_ORIGIN.fullmatch(entry)
            if not _is_origin(match[2] if match else ""):
                raise ValueError(
                    f"has {entry!r}; write an origin as browsers send it: https:// and host, in lower case, with the "
                    "port only if it is not the usual one, without a path, a slash or a wildcard"
                )
        return entries

    def browser_origins_of(self, shop_id: str) -> list[str]:
        """Return the origins whose pages may call the browser routes of the shop."""
        matches = (_SHOPS_ORIGIN.fullmatch(entry) for entry in self.browser_origins)
        return [match[2] for match in matches if match and match[1] in (None, shop_id)]
