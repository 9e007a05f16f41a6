"""What endpoints take from requests: the services, a SoW's body, and conditional reading."""

import ipaddress
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import unquote

from fastapi import Depends, Header, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from app.api.problems import UnsupportedMediaTypeError
from app.run_service import Submission, existing_root
from app.service import Services
from core.errors import InvalidInputError
from core.sow_reader import SowFormat

FORMATS = {
    "application/json": SowFormat.JSON,
    "application/yaml": SowFormat.YAML,
    "application/x-yaml": SowFormat.YAML,
    "text/yaml": SowFormat.YAML,
    "text/x-yaml": SowFormat.YAML,
    "text/markdown": SowFormat.MARKDOWN,
}
ROOT_HEADER = "Research-Agent-Root"


def services_of(request: Request) -> Services:
    """Return the services that the application opened."""
    found: Services = request.app.state.services
    return found


Use = Annotated[Services, Depends(services_of)]


async def submission_of(
    request: Request,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None,
    research_agent_root: Annotated[str | None, Header(max_length=4096)] = None,
) -> Submission:
    """Return the SoW in a request's body.

    Raises UnsupportedMediaTypeError for other media types, InvalidInputError for a root that may not be given.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in FORMATS:
        raise UnsupportedMediaTypeError(
            f"A SoW can't be read from {media_type or 'a body without Content-Type'}.",
            fix=f"Send one of {', '.join(FORMATS)}.",
        )
    root = "" if research_agent_root is None else _local_root(request, unquote(research_agent_root))
    return Submission(await request.body(), FORMATS[media_type], root, idempotency_key)


Sow = Annotated[Submission, Depends(submission_of)]


def _local_root(request: Request, path: str) -> str:
    """Return the folder of relative paths, which only a client on this machine may name."""
    if not is_local(request):
        raise InvalidInputError(f"{ROOT_HEADER} is taken from clients on the API's own machine only.")
    return existing_root(path)


def is_local(request: Request) -> bool:
    """Return whether a request comes from this machine and not through a proxy on it."""
    if request.client is None or {"forwarded", "x-forwarded-for", "via"} & set(request.headers):
        return False
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Conditional:
    """A reader's `If-None-Match`."""

    given: str

    def answer(self, tag: str, body: BaseModel, headers: dict[str, str] | None = None) -> Response:
        """Return the body with its ETag, or 304 where the reader has it already."""
        known = self.answer_known(tag)
        if known is not None:
            return known
        return JSONResponse(body.model_dump(mode="json"), headers={"ETag": tag, **(headers or {})})

    def answer_known(self, tag: str) -> Response | None:
        """Return 304 where the reader has what the tag names, else None. Weak tags are compared by their value."""
        tags = {t.strip().removeprefix("W/") for t in self.given.split(",")}
        if self.given.strip() == "*" or tag.removeprefix("W/") in tags:
            return Response(status_code=304, headers={"ETag": tag})
        return None


def conditional_of(if_none_match: Annotated[str, Header()] = "") -> Conditional:
    """Return what the reader has already."""
    return Conditional(if_none_match)


Reader = Annotated[Conditional, Depends(conditional_of)]
