"""A schema registry that speaks Confluent's HTTP interface (Confluent, Karapace, Apicurio, Redpanda)."""

import ssl
from typing import Any
from urllib.parse import quote

import httpx

from headrace.errors import RejectedError, UnavailableError
from streams.schemas.schema_registry import WriterSchema

__all__ = ["HttpSchemaRegistry"]

_TIMEOUT_S = 5.0
_MOST_REFERENCES = 100
_NO_SCHEMA = 40403
"""The interface's number for "Schema not found"; other 404 come from something else on the way."""
_KIND = "application/vnd.schemaregistry.v1+json"


class HttpSchemaRegistry:
    """Asks a server.

    Args:
        url: its address, without credentials.
        credentials: user and password; never shown.
        ca_file: certificates to trust besides the usual ones.
        timeout_s: longest wait for each part of an answer.
    """

    def __init__(
        self,
        url: str,
        *,
        credentials: tuple[str, str] | None = None,
        ca_file: str = "",
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        self._url = url.rstrip("/")
        trust = ssl.create_default_context()
        if ca_file:
            trust.load_verify_locations(ca_file)
        self._client = httpx.Client(auth=credentials, verify=trust, timeout=timeout_s)

    def schema(self, schema_id: int) -> WriterSchema | None:
        """The schema under an id; None when there is none.

        Raises:
            UnavailableError: the server does not answer, or not as a registry does.
        """
        found = self._ask("GET", f"/schemas/ids/{schema_id}")
        if found is None:
            return None
        texts: dict[tuple[str, int], str] = {}
        self._collect(found, texts)
        return WriterSchema(found.get("schemaType", "AVRO"), self._text(found), tuple(texts.values()))

    def register(self, subject: str, text: str) -> int:
        """Id of an Avro schema under a subject; the same schema has the same id.

        Raises:
            UnavailableError: the server does not answer.
            RejectedError: it does not take the schema.
        """
        path = f"/subjects/{quote(subject, safe='')}/versions"
        made = self._ask("POST", path, {"schema": text, "schemaType": "AVRO"})
        number = made.get("id") if made is not None else None
        if not isinstance(number, int):
            raise self._unexpected(f"an answer without an id: {str(made)[:200]}")
        return number

    def close(self) -> None:
        """Let go of connections."""
        self._client.close()

    def _collect(self, found: dict[str, Any], texts: dict[tuple[str, int], str]) -> None:
        """Texts of the schemas that one names, each after those it names itself."""
        for reference in found.get("references") or ():
            try:
                place = (str(reference["subject"]), int(reference["version"]))
            except (KeyError, TypeError, ValueError) as error:
                raise self._unexpected(f"a reference {str(reference)[:200]}") from error
            if place in texts:
                continue
            if len(texts) >= _MOST_REFERENCES:
                raise self._unexpected(f"a schema with more than {_MOST_REFERENCES} references")
            texts[place] = ""  # taken: two that name each other end here
            inner = self._ask("GET", f"/subjects/{quote(place[0], safe='')}/versions/{place[1]}")
            if inner is None:
                raise self._unexpected(f"a reference to {place[0]} {place[1]}, which it does not have")
            self._collect(inner, texts)
            del texts[place]
            texts[place] = self._text(inner)

    def _text(self, found: dict[str, Any]) -> str:
        text = found.get("schema")
        if not isinstance(text, str):
            raise self._unexpected(f"a schema that is no text: {str(text)[:200]}")
        return text

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any] | None:
        """The answer as an object; None for a schema there is not."""
        try:
            answer = self._client.request(method, self._url + path, json=body, headers={"Accept": _KIND})
        except httpx.HTTPError as error:
            raise UnavailableError(
                f"the schema registry at {self._url} does not answer: {type(error).__name__}: {error}",
                hint="check the server, and url in [schema_registry]",
            ) from error
        try:
            content = answer.json()
        except ValueError:
            content = None
        said = content.get("message", "") if isinstance(content, dict) else answer.text[:200]
        if answer.status_code == 404 and isinstance(content, dict) and content.get("error_code") == _NO_SCHEMA:
            return None
        if method == "POST" and answer.status_code in (409, 422):
            raise RejectedError(
                f"the schema registry at {self._url} does not take the schema: {said}",
                hint="give new fields a default, keep the types of old ones",
            )
        if answer.status_code in (401, 403):
            raise UnavailableError(
                f"the schema registry at {self._url} refuses us ({answer.status_code})",
                hint="check credentials_file in [schema_registry]",
            )
        if answer.status_code != 200 or not isinstance(content, dict):
            raise self._unexpected(f"{answer.status_code} {said}")
        return content

    def _unexpected(self, what: str) -> UnavailableError:
        return UnavailableError(
            f"the schema registry at {self._url} answers with {what}",
            hint="check that url in [schema_registry] is the registry's",
        )
