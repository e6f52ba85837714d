"""The Helm chart by Helm's own judgement, and its manifests by Kubernetes' schemas. Nothing here runs on a cluster."""

import copy
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from core.settings import Settings
from core.temporal import SHUTDOWN_GRACE
from tests.system.helm import (
    CHART,
    ROOT,
    Manifest,
    helm,
    is_kubernetes,
    missing,
    problems,
    problems_of_custom_resources,
    rendered,
)

VALUES = sorted((CHART / "ci").glob("*.yaml"))
COMPLETE = ("--values", str(CHART / "ci" / "complete.yaml"))
CONTROLLED = ("--values", str(CHART / "ci" / "worker-controller.yaml"))
RELEASES = ("1.25", "1.37")
"""The oldest release of Kubernetes that the chart accepts, and the newest whose schema is at hand."""
TOKENS = {"INVENTORY_AUTHORITY_TOKEN_FILE", "INVENTORY_ADMIN_TOKEN_FILE", "STRIPE_WEBHOOK_SECRET_FILE"}

pytestmark = pytest.mark.skipif(bool(missing()), reason=f"the Helm chart was not judged: {missing()}")
each_file = pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)


def named(kind: str, name: str, *arguments: str) -> Manifest:
    (found,) = [
        each
        for each in rendered(*arguments)
        if (each["kind"], each["metadata"]["name"]) == (kind, f"shop-holdfast-{name}")
    ]
    return found


def pods(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Return the specs of pods, by the names of their objects."""
    found = {}
    for each in manifests:
        spec = each if each["kind"] == "Pod" else each.get("spec", {}).get("template", {})
        if "containers" in spec.get("spec", {}):
            found[each["metadata"]["name"].removeprefix("shop-holdfast-")] = spec["spec"]
    return found


def environment(pod: Manifest) -> dict[str, str]:
    return {each["name"]: each.get("value", "") for each in pod["containers"][0]["env"]}


@each_file
def test_helm_finds_nothing_to_say_against_the_chart(values: Path) -> None:
    ran = helm("lint", "--strict", str(CHART), "--values", str(values))
    assert (ran.returncode, "[WARNING]" in ran.stdout) == (0, False), ran.stdout + ran.stderr


@each_file
def test_every_manifest_is_as_kubernetes_and_the_operators_define_it(values: Path) -> None:
    manifests = rendered("--values", str(values))
    assert {"Deployment", "Service"} & {each["kind"] for each in manifests}
    ours = [each for each in manifests if is_kubernetes(each)]
    assert [problem for release in RELEASES for each in ours for problem in problems(each, release)] == []
    others = [each for each in manifests if not is_kubernetes(each) and each["apiVersion"] != "temporal.io/v1alpha1"]
    assert [problem for found in problems_of_custom_resources(others) for problem in found] == []


def test_the_judges_find_a_field_that_does_not_exist_and_a_value_of_the_wrong_type() -> None:
    deployment = copy.deepcopy(named("Deployment", "api"))
    deployment["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    assert "readynessProbe" in problems(deployment, RELEASES[-1])[0]
    scaled = copy.deepcopy(named("ScaledObject", "worker", *COMPLETE))
    scaled["spec"]["minReplicaCount"] = "two"
    assert "minReplicaCount" in problems_of_custom_resources([scaled])[0][0]


def test_what_temporals_worker_controller_makes_is_a_deployment_and_its_scaling() -> None:
    worker = named("WorkerDeployment", "worker", *CONTROLLED)
    labels = worker["spec"]["template"]["metadata"]["labels"]
    spec = {"selector": {"matchLabels": labels}, "template": worker["spec"]["template"]}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": worker["metadata"], "spec": spec}
    assert problems(deployment, RELEASES[-1]) == []
    template = named("WorkerResourceTemplate", "worker", *CONTROLLED)["spec"]
    assert template["workerDeploymentRef"]["name"] == worker["metadata"]["name"]
    scaled = copy.deepcopy(template["template"]) | {"metadata": {"name": "worker"}}
    scaled["spec"]["scaleTargetRef"]["name"] = "filled-in"
    assert problems_of_custom_resources([scaled]) == [[]]


def test_a_worker_of_the_controller_takes_its_deployment_and_build_and_the_api_runs_no_holds() -> None:
    worker, api = (pods(rendered(*CONTROLLED))[name] for name in ("worker", "api"))
    shell, option, script = worker["containers"][0]["args"]
    given = {"TEMPORAL_DEPLOYMENT_NAME": "shops/shop-holdfast-worker", "TEMPORAL_WORKER_BUILD_ID": "0.2.0-1a2b"}
    printed = script.replace("exec python -m worker", "env")
    ran = subprocess.run(
        [shell, option, printed], env={"PATH": "/usr/bin:/bin"} | given, capture_output=True, text=True, check=True
    )
    got = dict(line.split("=", 1) for line in ran.stdout.splitlines())
    settings = Settings.read({"DATABASE_URL": "postgresql://localhost/holdfast", **got})
    assert (settings.worker_deployment, settings.worker_build_id) == tuple(given.values())
    assert not {"TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE"} & set(environment(worker))  # it sets them itself
    assert environment(api)["HOLDFAST_API_RUNS_HOLDS"] == "0"
    assert environment(api)["HOLDFAST_WORKER_DEPLOYMENT"] == settings.worker_deployment
    assert subprocess.run(
        [shell, option, printed], env={"PATH": "/usr/bin:/bin"}, capture_output=True, check=False
    ).returncode


@each_file
def test_no_container_has_rights_or_a_token_of_the_cluster(values: Path) -> None:
    for name, pod in pods(rendered("--values", str(values))).items():
        own = pod["securityContext"]
        assert (own["runAsNonRoot"], own["runAsUser"], own["seccompProfile"]) == (
            True,
            10001,
            {"type": "RuntimeDefault"},
        ), name
        assert (pod["automountServiceAccountToken"], pod["enableServiceLinks"]) == (False, False), name
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert set(container["resources"]) == {"requests", "limits"}, name


@each_file
def test_each_secret_is_a_file_that_is_there_and_only_the_api_has_the_tokens(values: Path) -> None:
    for name, pod in pods(rendered("--values", str(values))).items():
        (secrets,) = [volume["secret"] for volume in pod["volumes"] if volume["name"] == "secrets"]
        (mount,) = [each for each in pod["containers"][0]["volumeMounts"] if each["name"] == "secrets"]
        files = {f"{mount['mountPath']}/{item['path']}" for item in secrets["items"]}
        given = {variable: value for variable, value in environment(pod).items() if variable.endswith("_FILE")}
        assert set(given.values()) == files, name
        assert {variable.removesuffix("_FILE") for variable in given} <= set(Settings.secrets()), name
        assert name in ("api", "smoke", "periodic-smoke") or not TOKENS & set(given), name
        assert name != "migrate" or set(given) == {"DATABASE_URL_FILE"}, name


def test_the_migration_runs_before_everything_but_its_secret_and_reaches_postgres_itself() -> None:
    secret, job = named("ExternalSecret", "secrets", *COMPLETE), named("Job", "migrate", *COMPLETE)
    hooks = [each["metadata"]["annotations"] for each in (secret, job)]
    assert {each["helm.sh/hook"] for each in hooks} == {"pre-install,pre-upgrade"}
    assert int(hooks[0]["helm.sh/hook-weight"]) < int(hooks[1].get("helm.sh/hook-weight", 0))
    pod = pods([job])["migrate"]
    assert "INVENTORY_DATABASE_POOLER" not in environment(pod)
    assert [
        each["key"] for volume in pod["volumes"] if "secret" in volume for each in volume["secret"].get("items", ())
    ] == ["database_url"]


def test_a_pod_is_given_longer_to_stop_than_it_takes() -> None:
    for name, pod in pods(rendered()).items():
        if name in ("api", "worker"):
            before = (
                pod["containers"][0]
                .get("lifecycle", {})
                .get("preStop", {})
                .get("exec", {})
                .get("command", ["sleep", "0"])
            )
            longest = int(before[1]) + SHUTDOWN_GRACE.total_seconds() + 5  # a supervisor waits for its processes
            assert pod["terminationGracePeriodSeconds"] > longest, name


def test_what_selects_pods_finds_them() -> None:
    manifests = rendered(*COMPLETE)
    labels = {
        each["metadata"]["name"]: each["spec"]["template"]["metadata"]["labels"]
        for each in manifests
        if each["kind"] in ("Deployment", "Job")
    }
    for each in manifests:
        spec = each["spec"]
        wanted: dict[str, Any] = spec.get("selector") or spec.get("podSelector") or {}
        wanted = wanted.get("matchLabels", wanted)
        if wanted:
            assert wanted.items() <= labels[each["metadata"]["name"]].items(), each["metadata"]["name"]
        if "scaleTargetRef" in spec:
            assert spec["scaleTargetRef"]["name"] in labels
            assert (
                "replicas"
                not in named("Deployment", spec["scaleTargetRef"]["name"].rpartition("-")[2], *COMPLETE)["spec"]
            )


def test_the_network_policy_closes_the_periodic_smoke_test_but_for_its_metrics_dns_and_the_api() -> None:
    spec = named("NetworkPolicy", "periodic-smoke", *COMPLETE)["spec"]
    worker = named("NetworkPolicy", "worker", *COMPLETE)["spec"]
    assert (spec["policyTypes"], spec["ingress"]) == (["Ingress", "Egress"], worker["ingress"])
    (container,) = pods(rendered(*COMPLETE))["periodic-smoke"]["containers"]
    assert {"name": "metrics", "containerPort": 9465} in container["ports"]
    api = named("NetworkPolicy", "api", *COMPLETE)["spec"]["podSelector"]
    dns = [{"port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")]
    assert spec["egress"] == [{"ports": dns}, {"ports": [{"port": 8000}], "to": [{"podSelector": api}]}]
    elsewhere = ("--set", "settings.INVENTORY_AUTHORITY_URL=https://holdfast.example.com")
    egress = named("NetworkPolicy", "periodic-smoke", *COMPLETE, *elsewhere)["spec"]["egress"]
    assert {"port": 443} in [port for rule in egress for port in rule["ports"]]


def test_the_alerts_are_those_of_the_repository_with_links_to_the_runbooks() -> None:
    (rules,) = [each["spec"] for each in rendered(*COMPLETE) if each["kind"] == "PrometheusRule"]
    written = (ROOT / "ops" / "prometheus" / "rules.yml").read_text()
    books = "https://git.example.com/holdfast/blob/main/docs/runbooks"
    assert rules == yaml.safe_load(written.replace("{{ $externalLabels.runbooks }}", books))
    jobs = {
        each["spec"]["endpoints"][0]["relabelings"][0]["replacement"]
        for each in rendered(*COMPLETE)
        if each["kind"] == "ServiceMonitor"
    }
    assert jobs == {"holdfast-api", "holdfast-worker", "holdfast-smoke"}


def test_every_setting_arrives_in_the_containers_as_it_was_written() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]
    free = {name: f"a {name}" for name, allowed in schema["settings"]["properties"].items() if "type" in allowed}
    numbers = {"HOLDFAST_WORKER_CACHED_HOLDS": 1_000_000, "OTEL_TRACES_SAMPLER_ARG": 0.1, "HOLDFAST_SEARCH_BY_SKU": 1}
    settings, secrets = free | numbers, {name: name.lower() for name in Settings.secrets()}
    given = [
        f"--set-json={name}={json.dumps(value)}"
        for name, value in {"settings": settings, "secrets.keys": secrets}.items()
    ]
    got = environment(pods(rendered(*given))["api"])
    assert {name: got.get(name) for name in settings} == {name: str(value) for name, value in settings.items()}
    assert {f"{name}_FILE" for name in secrets} <= set(got)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("settings.INVENTORY_MDOE=reserve_ttl", ["settings", "INVENTORY_MDOE"]),
        ("settings.INVENTORY_MODE=reserve", ["INVENTORY_MODE", "validate_only", "reserve_ttl"]),
        ("settings.DATABASE_URL=postgresql://db/holdfast", ["settings", "DATABASE_URL"]),
        ("secrets.keys.DATABASE_URL=null", ["secrets/keys", "DATABASE_URL"]),
        ("settings.INVENTORY_DATABASE_POOLER=1", ["secrets.migrateDatabaseUrl", "INVENTORY_DATABASE_POOLER"]),
        ("worker.terminationGracePeriodSeconds=10", ["worker/terminationGracePeriodSeconds", "25"]),
        ("api.stopDelaySeconds=30", ["api.terminationGracePeriodSeconds", "55 s"]),
        ("worker.keda.minReplicas=0", ["worker/keda/minReplicas"]),
        ("worker.controller.enabled=true", ["worker.controller.connection"]),
        ("networkPolicy.enabled=true", ["networkPolicy.apiFrom"]),
        ("monitoring.rules.enabled=true", ["monitoring.rules.runbooks"]),
        ("externalSecret.enabled=true", ["externalSecret.store.name"]),
        ("image.digest=latest", ["image/digest"]),
        ("api.replica=3", ["api", "replica"]),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(wrong: str, words: list[str]) -> None:
    ran = helm("template", "shop", str(CHART), "--set", wrong)
    assert ran.returncode != 0
    assert [word for word in words if word not in ran.stderr] == [], ran.stderr
