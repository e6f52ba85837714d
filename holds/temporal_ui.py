"""Links into the Temporal UI."""

from urllib.parse import quote

from domain.holds import HoldStatus
from workflows.messages import HOLD_STATUS, SHOP_ID

_DEFAULT = "http://localhost:8233"


def workflow_url(ui: str, namespace: str, workflow_id: str) -> str:
    """Return the page of a workflow. `ui` is the UI's address, "" for that of a local Temporal."""
    return f"{_namespace(ui, namespace)}/workflows/{quote(workflow_id, safe=':')}"


def holds_url(ui: str, namespace: str, shop_id: str, status: HoldStatus) -> str:
    """Return the list of a shop's holds of one status: what the list of all of them does not tell apart by itself."""
    return workflows_url(ui, namespace, f"{HOLD_STATUS.name}='{status}' AND {SHOP_ID.name}='{shop_id}'")


def workflows_url(ui: str, namespace: str, query: str) -> str:
    """Return the list of the workflows that a query selects."""
    return f"{_namespace(ui, namespace)}/workflows?query={quote(query, safe='')}"


def _namespace(ui: str, namespace: str) -> str:
    return f"{(ui or _DEFAULT).rstrip('/')}/namespaces/{quote(namespace)}"
