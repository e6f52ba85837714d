"""Which build a worker is, and whether holds are routed by it. Not deterministic code: no workflow imports this."""

from importlib.metadata import version

from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import WorkerDeploymentConfig

DEPLOYMENT = "holdfast"
"""Its name in Temporal."""


def deployment_of(build_id: str) -> WorkerDeploymentConfig:
    """Return what a worker says of itself; without a build id its release, and it takes any hold.

    With one, Temporal gives every hold, also those that an earlier build began, to workers of the build that is made
    the current one (docs/decisions/0017-routing-by-build-is-a-setting.md).
    """
    return WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(deployment_name=DEPLOYMENT, build_id=build_id or version("holdfast")),
        use_worker_versioning=bool(build_id),
        default_versioning_behavior=VersioningBehavior.AUTO_UPGRADE if build_id else VersioningBehavior.UNSPECIFIED,
    )
