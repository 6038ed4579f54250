"""Serves a worker's metrics to Prometheus, on loopback unless the settings say otherwise."""

import threading
from http.server import ThreadingHTTPServer

from prometheus_client import CollectorRegistry, MetricsHandler

from headrace.config import StreamSettings
from headrace.logging import get_logger

__all__ = ["MetricsServer"]

_LOOK_S = 0.1
"""Longest wait for the end when the worker leaves."""
_OFF = -1
_LOG = get_logger(__name__)


class MetricsServer:
    """One worker's page.

    Args:
        settings: where it is to be served.
        number: of the worker among those of its home; a port that is set is the first one's.
        registry: what is served.
    """

    def __init__(self, settings: StreamSettings, number: int, registry: CollectorRegistry) -> None:
        self.address = ""
        """Where it answers; empty when it does not."""
        self._server: ThreadingHTTPServer | None = None
        host, port = settings.metrics_host, settings.metrics_port
        if port == _OFF:
            return
        try:
            self._server = _Server((host, port + number if port else 0), MetricsHandler.factory(registry))
        except OSError as error:
            # The stream goes on without: whoever watches sees that nobody answers.
            _LOG.warning("metrics are not served", address=f"{host}:{port + number}", why=str(error))
            return
        self.address = f"http://{host}:{self._server.server_port}/metrics"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_LOOK_S,), name="metrics", daemon=True)
        self._thread.start()
        _LOG.info("metrics are served", address=self.address)

    def close(self) -> None:
        """Answer nobody any more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    """A client that does not read its answer keeps nobody from leaving."""
