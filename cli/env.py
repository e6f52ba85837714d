"""`holdfast env`: the variables of the `holdfast up` that runs here, for a shell."""

import os
import shlex

from cli.connections import fail
from cli.installation import installation, running_stack

_ELSEWHERE = ("DATABASE_URL", "DATABASE_URL_FILE", "INVENTORY_AUTHORITY_URL")
"""Name another installation, or this one before a restart."""


def env_command() -> None:
    """Print the variables of the `holdfast up` that runs here, so that other programs find it too.

    Use it so: eval "$(holdfast env)". Afterwards psql "$DATABASE_URL" and temporal reach its servers, and
    $HOLDFAST_URL is its API. PATH begins with the programs that fit the servers, such as pg_dump.
    """
    present = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}
    found = installation(present)
    if "DATABASE_URL" not in found:
        hint = "start it with: make up, or set HOLDFAST_HOME; on the host of docker-compose.yml use deploy/env.sh"
        fail("env", f"no `holdfast up` runs here; {hint}")
    found["HOLDFAST_URL"] = found["INVENTORY_AUTHORITY_URL"]
    folders = [*running_stack(present).get("programFolders", ()), *os.environ.get("PATH", os.defpath).split(os.pathsep)]
    found["PATH"] = os.pathsep.join(dict.fromkeys(folders))
    for name in sorted(os.environ.keys() - found.keys()):
        print(f"unset {name}")
    for name, value in found.items():
        if os.environ.get(name) != value:
            print(f"export {name}={shlex.quote(value)}")
