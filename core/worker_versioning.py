"""The build id of a worker, and whether Temporal routes workflows by it. No workflow imports this."""

from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import WorkerDeploymentConfig

from core.release import release
from core.settings import WORKER_DEPLOYMENT


def deployment_config(build_id: str, deployment: str = WORKER_DEPLOYMENT) -> WorkerDeploymentConfig:
    """Return the deployment of a worker. Without a build id it reports its release and accepts any workflow.

    With one, Temporal routes all workflows, including those started by earlier builds, to workers of the current build
    (docs/decisions/0017-routing-by-build-is-a-setting.md).
    """
    return WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(deployment_name=deployment, build_id=build_id or release()),
        use_worker_versioning=bool(build_id),
        default_versioning_behavior=VersioningBehavior.AUTO_UPGRADE if build_id else VersioningBehavior.UNSPECIFIED,
    )
