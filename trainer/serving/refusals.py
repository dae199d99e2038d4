"""How the service says no: a status of HTTP with a reason, as RFC 9457 has it."""

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from trainer.serving.admission import FullError

MEDIA_TYPE = "application/problem+json"
CLIENT_LEFT = 499
"""In the metrics only: there is nobody to be told."""
TITLES = {
    400: "Not understood",
    404: "Not here",
    405: "Not this way",
    408: "Too slow",
    413: "Too large",
    415: "Not a kind of body that is read here",
    422: "Cannot be predicted",
    429: "Busy",
    500: "A defect of the service",
    503: "Not now",
}


class Problem(BaseModel):
    """A refusal."""

    title: str
    status: int
    detail: str


class RefusalError(Exception):
    """Ends a request with a status of HTTP and a reason.

    Attributes:
        status: 4xx or 503.
        retry_after: seconds, where coming again helps.
    """

    def __init__(self, status: int, detail: str, retry_after: int | None = None):
        super().__init__(detail)
        self.status = status
        self.retry_after = retry_after


def refuse(status: int, detail: str, retry_after: int | None = None) -> JSONResponse:
    """A refusal as a response."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    problem = Problem(title=TITLES[status], status=status, detail=detail)
    return JSONResponse(problem.model_dump(), status, headers, media_type=MEDIA_TYPE)


def describe_refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For OpenAPI: the refusals of a path."""
    schema = Problem.model_json_schema()
    return {
        status: {"description": TITLES[status], "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in statuses
    }


def add_refusals(app: FastAPI) -> None:
    """Makes refusals of whatever the paths of an application raise."""

    @app.exception_handler(RefusalError)
    async def refused(_: Request, error: RefusalError) -> Response:
        return refuse(error.status, str(error), error.retry_after)

    @app.exception_handler(FullError)
    async def full(_: Request, error: FullError) -> Response:
        return refuse(429, str(error), error.retry_after)

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=CLIENT_LEFT)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return refuse(422, f"{first['loc'][-1]}: {first['msg']}")

    @app.exception_handler(HTTPException)
    async def by_framework(_: Request, error: HTTPException) -> Response:
        status = error.status_code if error.status_code in TITLES else 400
        response = refuse(status, str(error.detail))
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(Exception)
    async def defect(_: Request, error: Exception) -> Response:
        return refuse(500, f"{type(error).__name__}; the log of the service tells more")
