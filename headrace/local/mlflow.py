"""The MLflow page, on request: a reader of the SQLite file that training writes directly."""

import sys

from headrace.config import Settings
from headrace.errors import RejectedError
from headrace.local.layout import Layout
from headrace.local.ports import HOST
from headrace.local.service import Service

__all__ = ["NAME", "build_service"]

NAME = "mlflow"


def build_service(layout: Layout, ports: dict[str, int], settings: Settings) -> Service:
    """Return how to start the page.

    Raises:
        RejectedError: tracking goes to a server of its own, which has its own page.
    """
    uri = settings.mlflow_uri
    if uri.startswith(("http:", "https:", "databricks")):
        raise RejectedError(
            f"mlflow.tracking_uri is {uri}, a server with a page of its own",
            hint="leave out --mlflow, or unset mlflow.tracking_uri to track in the home",
        )
    data = layout.data_dir(NAME)
    artifacts = data / "artifacts"
    artifacts.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(ports["mlflow"])]
    command += ["--backend-store-uri", uri, "--workers", "1"]
    command += ["--default-artifact-root", artifacts.as_uri(), "--no-serve-artifacts"]
    return Service(
        name=NAME,
        command=tuple(command),
        environment={
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
            # Otherwise it starts a pool of job runners nobody here uses.
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        },
        stop_within_s=5.0,
    )
