"""Everything that answers for a project's models, put together once for the HTTP server and the stream scorer."""

from collections.abc import Mapping
from dataclasses import dataclass

from headrace.clock import Clock, SystemClock
from headrace.config import Settings
from headrace.rollout_store import RolloutStore
from headrace.spec.project import Project
from serving.metrics import Metrics
from serving.model_service import ModelService
from serving.model_shelf import ModelShelf
from serving.prediction_log import PredictionLog
from serving.record_cache import RecordCache
from serving.record_follower import Loaded, RecordFollower
from serving.score_along import ScoreAlong
from serving.serving_beat import ServingBeat

__all__ = ["ServingParts", "assemble"]


@dataclass(frozen=True, kw_only=True)
class ServingParts:
    """Running parts of one process; ``start`` before the first request, ``close`` after the last."""

    settings: Settings
    project: Project
    follower: RecordFollower
    services: Mapping[str, ModelService]
    log: PredictionLog
    along: ScoreAlong | None
    beat: ServingBeat
    store: RolloutStore
    metrics: Metrics
    clock: Clock

    def start(self) -> None:
        """Load what must answer; returns when it is loaded or known to be away."""
        self.follower.start()

    def close(self) -> None:
        """Finish what is queued and take this process off the list of servers."""
        self.follower.stop()
        self.beat.close()
        if self.along is not None:
            self.along.close()
        self.log.close()
        self.store.close()


def assemble(
    settings: Settings, project: Project, *, name: str, source: str, clock: Clock | None = None
) -> ServingParts:
    """Make the parts; threads that only wait are started, nothing is loaded yet.

    Args:
        settings: where things are.
        project: whose models answer.
        name: what this process is called in the list of servers.
        source: ``http`` (versions score along behind the answer) or ``stream`` (before it).
        clock: wall clock.
    """
    clock = clock or SystemClock()
    metrics = Metrics()
    patience = {} if source == "http" else {"message.timeout.ms": 0}  # a scorer waits, because nobody waits for it
    log = PredictionLog(settings, config=patience)
    along = ScoreAlong() if source == "http" else None
    store = RolloutStore(settings.redis.url)
    beat = ServingBeat(settings.redis.url, name, clock)

    def changed(loaded: Loaded) -> None:
        metrics.swapped(loaded.record.model, loaded.record.epoch)
        beat.changed(loaded)

    follower = RecordFollower(
        store,
        ModelShelf(settings.models_dir, project.models),
        RecordCache(settings.home / "data" / "serving"),
        [model.name for model in project.models],
        announce=log.announce,
        changed=changed,
        clock=clock,
    )
    services = {
        model.name: ModelService(model, follower, log.write, along=along, metrics=metrics, clock=clock, source=source)
        for model in project.models
    }
    metrics.watch("prediction_log_waiting", "Log messages not yet acknowledged", lambda: log.waiting)
    metrics.watch("prediction_log_written", "Log messages taken since the start", lambda: log.written)
    metrics.watch("prediction_log_dropped", "Log messages given up since the start", lambda: log.dropped)
    if along is not None:
        metrics.watch(
            "score_along_skipped", "Requests without comparison scores since the start", lambda: along.skipped
        )
    return ServingParts(
        settings=settings,
        project=project,
        follower=follower,
        services=services,
        log=log,
        along=along,
        beat=beat,
        store=store,
        metrics=metrics,
        clock=clock,
    )
