"""Files of a run: the report, the survey's exports, and all artifacts by name.

Files are hostile (papers, models and generated code end up in them): no script runs in one that a browser shows.
"""

import urllib.parse

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from app.api.problems import PROBLEM_RESPONSES
from app.api.requests import Conditional, Reader, Use
from app.file_service import FileList, file_list, stored_file
from app.service import Services

CSP = (
    "sandbox allow-same-origin allow-popups; default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; "
    "font-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SHOWN = {"text/html", "text/plain", "text/csv", "application/json", "application/pdf", "image/png", "image/svg+xml"}
AS_TEXT = {"text/markdown", "text/x-bibtex", "application/x-bibtex", "application/yaml", "text/yaml"}

router = APIRouter(prefix="/v1/runs/{run_id}", tags=["artifacts"], responses=PROBLEM_RESPONSES)


async def serve(use: Services, run_id: str, name: str, reader: Conditional) -> Response:
    """Return a file with its checksum as ETag, or 304 where the reader has it."""
    file = await stored_file(use, run_id, name)
    tag = f'"{file.digest}"'
    known = reader.answer_known(tag)
    if known is not None:
        return known
    media_type = file.media_type.partition(";")[0].strip().lower()
    inline = media_type in SHOWN | AS_TEXT
    quoted = urllib.parse.quote(file.name.rsplit("/", 1)[-1])
    headers = {
        "ETag": tag,
        "Content-Security-Policy": CSP,
        "Content-Disposition": f"{'inline' if inline else 'attachment'}; filename*=UTF-8''{quoted}",
    }
    return FileResponse(file.path, media_type=media_type if inline else "application/octet-stream", headers=headers)


@router.get("/report")
async def read_report(use: Use, run_id: str, request: Request, reader: Reader) -> Response:
    """Return the report: Markdown for `Accept: text/markdown`, else HTML."""
    suffix = "md" if "text/markdown" in request.headers.get("accept", "") else "html"
    return await serve(use, run_id, f"report.{suffix}", reader)


@router.get("/report.html")
async def read_report_html(use: Use, run_id: str, reader: Reader) -> Response:
    """Return the report as HTML."""
    return await serve(use, run_id, "report.html", reader)


@router.get("/report.md")
async def read_report_markdown(use: Use, run_id: str, reader: Reader) -> Response:
    """Return the report as Markdown."""
    return await serve(use, run_id, "report.md", reader)


@router.get("/artifacts")
async def list_artifacts(use: Use, run_id: str) -> FileList:
    """Return a run's files with their checksums."""
    return await file_list(use, run_id)


@router.get("/artifacts/{name:path}")
async def read_artifact(use: Use, run_id: str, name: str, reader: Reader) -> Response:
    """Return one file."""
    return await serve(use, run_id, name, reader)
