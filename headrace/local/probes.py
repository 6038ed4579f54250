"""Does a server answer? One real protocol exchange each, with a short patience."""

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from headrace.config import Settings
from headrace.errors import UnavailableError

__all__ = ["PROBES", "probe_kafka", "probe_mlflow", "probe_redis", "probe_temporal"]

_PATIENCE_S = 3.0


def probe_kafka(settings: Settings) -> str:
    """List the topics; returns the address that answered.

    Raises:
        UnavailableError: no broker answered.
    """
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    from headrace.kafka_clients import make_client

    bootstrap = settings.kafka.bootstrap
    # A server that is not there yet is what this function reports; the usual warning would say it twice.
    client = make_client(AdminClient, settings, {"error_cb": lambda _: None})
    try:
        metadata = client.list_topics(timeout=_PATIENCE_S)
    except KafkaException as error:
        raise UnavailableError(f"Kafka at {bootstrap} does not answer: {error.args[0].str()}") from error
    if not metadata.brokers:
        raise UnavailableError(f"Kafka at {bootstrap} answers, but has no broker ready")
    return bootstrap


def probe_redis(settings: Settings) -> str:
    """PING; returns the address without credentials.

    Raises:
        UnavailableError: it did not answer.
    """
    import redis

    client = redis.Redis.from_url(settings.redis.url, socket_timeout=_PATIENCE_S, socket_connect_timeout=_PATIENCE_S)
    where = "{host}:{port}".format(**{"host": "?", "port": "?"} | client.get_connection_kwargs())
    try:
        with client:
            client.ping()
    except redis.RedisError as error:
        raise UnavailableError(f"Redis at {where} does not answer: {error}") from error
    return where


def probe_temporal(settings: Settings) -> str:
    """Check the health of the service and that the namespace is there; returns the address.

    Raises:
        UnavailableError: it did not answer.
    """
    # Its own thread: the caller may already run an event loop.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(_ask_temporal(settings))).result()


async def _ask_temporal(settings: Settings) -> str:
    from datetime import timedelta

    from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
    from temporalio.client import Client
    from temporalio.service import RPCError

    address, namespace = settings.temporal.address, settings.temporal.namespace
    try:
        client = await asyncio.wait_for(Client.connect(address, namespace=namespace), _PATIENCE_S)
        await client.workflow_service.describe_namespace(
            DescribeNamespaceRequest(namespace=namespace), timeout=timedelta(seconds=_PATIENCE_S)
        )
    except (RPCError, RuntimeError, TimeoutError) as error:
        said = _brief(str(error)) or f"no answer within {_PATIENCE_S:g} s"
        raise UnavailableError(f"Temporal at {address} does not answer: {said}") from error
    return address


def _brief(message: str) -> str:
    """The operating system's words out of the nested debug text of Temporal's client."""
    found = re.search(r'message: "([^"]+)"', message)
    return found.group(1) if found else message


def probe_mlflow(settings: Settings) -> str:
    """Ask the MLflow page for its health; returns its address.

    Raises:
        UnavailableError: it did not answer.
    """
    import httpx

    url = settings.mlflow.ui_url
    try:
        httpx.get(f"{url}/health", timeout=_PATIENCE_S, trust_env=False).raise_for_status()
    except httpx.HTTPError as error:
        raise UnavailableError(f"MLflow at {url} does not answer: {error}") from error
    return url


PROBES: dict[str, Callable[[Settings], str]] = {
    "kafka": probe_kafka,
    "valkey": probe_redis,
    "temporal": probe_temporal,
    "mlflow": probe_mlflow,
}
"""By service of the embedded stack; they serve external servers just as well."""
