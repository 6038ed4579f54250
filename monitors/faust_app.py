"""The one file that knows Faust: an app that hands messages of control topics to plain async functions.

Faust's traps, each measured (knowledge/libraries.md 2): topics must exist before it starts; tables are not exact after
a kill, so none are used; an agent that raises skips its message, so handlers are called until they succeed; a web
server is on by default.
"""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import faust

from headrace.config import Settings
from headrace.contracts.topics import Topic
from headrace.errors import ConfigError, HeadraceError, IntegrityError
from headrace.logging import get_logger

__all__ = ["ControlAgents", "Handler"]

Handler = Callable[[bytes], Awaitable[None]]
RETRY_S = 1.0
SESSION_S = 10.0
"""After a kill the next process waits this long for the broker to give the dead one up; Faust's default is 60."""
_log = get_logger(__name__)


class ControlAgents:
    """One Faust app with an agent for each topic. Made inside a running event loop.

    Args:
        settings: where the broker is.
        name: id of the app, also its consumer group.
        handlers: topic -> what is done with each of its messages; called again until it succeeds.
    """

    def __init__(self, settings: Settings, name: str, handlers: Mapping[Topic, Handler]) -> None:
        folder = settings.state_dir / "agents"  # Faust's default is a folder in the working directory
        folder.mkdir(parents=True, exist_ok=True)
        for talkative in ("faust", "mode"):
            logging.getLogger(talkative).setLevel(logging.WARNING)
        self._app = faust.App(
            name,
            broker=[f"kafka://{address}" for address in settings.kafka.bootstrap.split(",")],
            broker_credentials=_credentials(settings.kafka.client_config),
            store="memory://",
            datadir=str(folder),
            web_enabled=False,
            autodiscover=False,
            topic_allow_declare=False,
            topic_disable_leader=True,
            consumer_auto_offset_reset="earliest",
            broker_commit_interval=0.5,
            broker_session_timeout=SESSION_S,
            broker_heartbeat_interval=SESSION_S / 3,
            loop=asyncio.get_running_loop(),
        )
        self._topics: dict[str, Any] = {}
        for topic, handler in handlers.items():
            channel = self._topic(topic)
            self._app.agent(channel, name=f"agent of {topic.name}")(_agent(topic.name, handler))

    async def start(self) -> None:
        """Join the group and begin."""
        self._app.finalize()
        await self._app.start()

    async def stop(self) -> None:
        """Commit and leave."""
        await self._app.stop()

    async def send(self, topic: Topic, key: str, value: bytes) -> None:
        """Publish and wait until the broker has it."""
        sent = await self._topic(topic).send(key=key.encode(), value=value)
        await sent

    def _topic(self, topic: Topic) -> Any:
        if topic.name not in self._topics:
            self._topics[topic.name] = self._app.topic(
                topic.name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
            )
        return self._topics[topic.name]


def _agent(topic: str, handler: Handler) -> Callable[[Any], Awaitable[None]]:
    async def agent(stream: Any) -> None:
        async for event in stream.events():
            await _until_done(topic, event.message.offset, handler, event.value or b"")

    return agent


async def _until_done(topic: str, offset: int, handler: Handler, value: bytes) -> None:
    """Handle one message; bytes that are no contract are left out, everything else is tried again."""
    tries = 0
    while True:
        try:
            return await handler(value)
        except IntegrityError as error:
            _log.warning("message refused", topic=topic, offset=offset, reason=error.args[0])
            return None
        except HeadraceError as error:
            if tries == 0 or not error.retryable:
                _log.warning("message waits", topic=topic, offset=offset, reason=error.args[0])
        tries += 1
        await asyncio.sleep(RETRY_S)


def _credentials(client_config: str) -> Any:
    """Faust's credentials from a file of librdkafka settings; None for a plain connection."""
    if not client_config:
        return None
    lines = Path(client_config).expanduser().read_text(encoding="utf-8").splitlines()
    given = dict(line.strip().split("=", 1) for line in lines if "=" in line and not line.lstrip().startswith("#"))
    given = {name.strip(): value.strip() for name, value in given.items()}
    protocol = given.get("security.protocol", "PLAINTEXT").upper()
    tls = ssl.create_default_context(cafile=given.get("ssl.ca.location")) if protocol.endswith("SSL") else None
    if tls is not None and "ssl.certificate.location" in given:
        tls.load_cert_chain(
            given["ssl.certificate.location"], given.get("ssl.key.location"), given.get("ssl.key.password")
        )
    if protocol == "PLAINTEXT":
        return None
    if protocol == "SSL":
        return faust.SSLCredentials(context=tls)
    mechanism = given.get("sasl.mechanism", given.get("sasl.mechanisms", "PLAIN"))
    if protocol not in ("SASL_SSL", "SASL_PLAINTEXT") or not mechanism.startswith(("PLAIN", "SCRAM")):
        raise ConfigError(
            f"the agents cannot use {protocol} with {mechanism} from kafka.client_config",
            hint="use SSL, or SASL_SSL with PLAIN or SCRAM",
        )
    return faust.SASLCredentials(
        username=given.get("sasl.username"),
        password=given.get("sasl.password"),
        mechanism=mechanism,
        ssl_context=tls,
    )
