"""``headrace train``: train a model on a training set and register the result."""

import argparse
import dataclasses
import json
import sys
from typing import TYPE_CHECKING

from headrace.config import load_settings
from headrace.spec.project import fingerprint, load_project

if TYPE_CHECKING:
    from trainers.progress import Progress


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--project", default="examples/fraud", help="project folder (default: %(default)s)")
    parser.add_argument("--model", help="which model, when the project has several")
    parser.add_argument("--dataset", required=True, metavar="ID", help="from `headrace dataset build`")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), help="default: the setting train.device")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: %(default)s)")
    parser.add_argument("--no-register", action="store_true", help="leave the artifact in its run's folder")
    parser.add_argument("--json", action="store_true", help="print one JSON object, the model's manifest")


def run(args: argparse.Namespace) -> int:
    """Train in a supervised child process; run again, it resumes or returns what is done."""
    from headrace.contracts.artifacts import DatasetManifest
    from headrace.dataset_format import MANIFEST_FILE, folder_of
    from headrace.errors import ConfigError
    from headrace.manifest_file import read_manifest
    from trainers.job import RunFolder, TrainingJob
    from trainers.supervisor import supervise

    settings = load_settings()
    project = load_project(args.project)
    model = project.only_model(args.model)
    dataset = folder_of(settings.datasets_dir, args.dataset)
    manifest = read_manifest(dataset / MANIFEST_FILE, DatasetManifest)
    if manifest.model != model.name or manifest.features != model.feature_names:
        raise ConfigError(
            f"data set {args.dataset} holds the inputs of {manifest.model!r} as they were, not those of {model.name!r}",
            hint=f"headrace dataset build --project {args.project} --model {model.name} …",
        )
    device = args.device or settings.train.device
    job = TrainingJob(
        model=model.name,
        dataset=str(dataset),
        trainer=model.trainer,
        device=device,
        threads=args.threads,
        price_per_device_hour=settings.train.price_per_device_hour,
        created_us=manifest.as_of_us,
    )
    # Named by what decides the result, so that the command run again continues.
    folder = RunFolder(settings.runs_dir / f"{args.dataset}-{fingerprint(model.trainer, device, args.threads)}")
    with _ProgressLine() as line:
        trained = supervise(folder, job, beat=line)
    if not args.no_register:
        from trainers.registry import ModelRegistry

        registry = ModelRegistry(settings)
        trained = registry.register(folder.artifact, registry.record_run(folder.artifact, tags={"cause": "by hand"}))
    if args.json:
        print(json.dumps(dataclasses.asdict(trained)))
        return 0
    print(f"model      {trained.model} {trained.version}")
    print(
        f"artifact   {folder.artifact if args.no_register else settings.models_dir / trained.model / trained.version}"
    )
    print(f"data set   {trained.dataset_id}")
    print(f"weights    {trained.weights_sha256[:12]}, epoch {trained.metrics['best_epoch']:.0f}")
    for name, value in trained.metrics.items():
        if name.startswith("validation_") and name not in ("validation_rows", "validation_positives"):
            print(f"{name.removeprefix('validation_'):<18} {value:.4f}  on the newest rows, held out")
    print(f"cost       {trained.cost['device_seconds']:.1f} device seconds, price {trained.cost['price']:g}")
    return 0


class _ProgressLine:
    """Progress on stderr: a bar on a terminal, one line per epoch otherwise."""

    def __init__(self) -> None:
        self._bar = None
        self._told = -1
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress as Bar

            self._bar = Bar(console=Console(stderr=True), transient=True)

    def __enter__(self) -> "_ProgressLine":
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task("starting", total=None)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, progress: "Progress | None") -> None:
        if progress is None:
            return
        loss = f"loss {progress.loss:.4f}"
        if self._bar is not None:
            text = f"epoch {progress.epoch}/{progress.epochs}  {loss}"
            self._bar.update(self._task, completed=progress.step, total=progress.steps, description=text)
        elif progress.epoch > self._told:
            self._told = progress.epoch
            print(f"train     epoch {progress.epoch}/{progress.epochs}  {loss}", file=sys.stderr, flush=True)
