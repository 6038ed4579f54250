"""``headrace serve``: answer feature and prediction requests over HTTP."""

import argparse

from headrace.config import load_settings
from headrace.logging import set_up_logging
from headrace.spec.project import load_project


def configure(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = (
        "endpoints: POST /get-online-features (Feast's payload), POST /predict/MODEL, GET /models, /health, /ready, "
        "/metrics, /openapi.json\nPrints its address on stdout when it answers. SIGTERM finishes open requests first."
    )
    parser.add_argument("--project", default="examples/fraud", help="project folder (default: %(default)s)")
    parser.add_argument("--host", help="interface to listen on (default: serve.host)")
    parser.add_argument("--port", type=int, help="port; 0 lets the system choose (default: serve.port)")
    parser.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))


def run(args: argparse.Namespace) -> int:
    from serving.server import serve  # pulls in the web server; --help does not need it

    set_up_logging(args.log_level)
    settings = load_settings()
    return serve(
        settings,
        load_project(args.project),
        host=args.host or settings.serve.host,
        port=settings.serve.port if args.port is None else args.port,
    )
