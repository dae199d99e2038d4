"""The paths of the service."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trainer.serving.admission import FullError
from trainer.serving.answers import TITLES, PredictAnswer, Problem, RefusalError, refuse
from trainer.serving.photos import BodyReader, JsonPhotos
from trainer.serving.service import Service

_Result = TypeVar("_Result")
PAGES = Path(__file__).resolve().parent / "pages"
_FILES = {
    "/": ("index.html", "text/html"),
    "/docs": ("docs.html", "text/html"),
    "/pages/page.css": ("page.css", "text/css"),
    "/pages/page.js": ("page.js", "text/javascript"),
    "/pages/docs.js": ("docs.js", "text/javascript"),
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_CLIENT_LEFT = 499
"""In the metrics only: there is nobody to be told."""
_KNOWN_PATHS = frozenset(
    (*_FILES, "/v1/predict", "/v1/model", "/healthz", "/readyz", "/metrics", "/openapi.json")
)
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {"photo": {"type": "array", "items": _BINARY["schema"]}},
            }
        },
        "image/*": _BINARY,
        "application/octet-stream": _BINARY,
        "application/json": {"schema": JsonPhotos.model_json_schema(ref_template="{model}")},
    },
}


def make_app(service: Service) -> FastAPI:
    """The application around a service, which runs as long as the application does."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = FastAPI(
        title="Photo classifier",
        version=service.model.id,
        description=f"{service.model.backbone}, {service.model.num_classes} classes.",
        lifespan=lifespan,
        docs_url=None,  # FastAPI's own pages load scripts from elsewhere
        redoc_url=None,
    )
    _add_predict(app, service)
    _add_operations(app, service)
    for path, (name, media_type) in _FILES.items():
        app.add_api_route(path, _file(name, media_type), include_in_schema=False)
    _add_refusals(app)
    app.add_middleware(Measured, service=service)
    return app


def _add_predict(app: FastAPI, service: Service) -> None:
    num_classes = len(service.contract.classes)
    refusals: dict[int | str, dict[str, Any]] = {
        status: {"model": Problem, "description": TITLES[status]}
        for status in (400, 408, 413, 415, 422, 429, 503)
    }

    @app.post(
        "/v1/predict",
        response_model=PredictAnswer,
        response_model_exclude_none=True,
        responses=refusals,
        openapi_extra={"requestBody": _BODY},
    )
    async def predict(
        request: Request,
        top_k: Annotated[int, Query(ge=1, description="Classes a photo")] = 5,
        activation: Annotated[bool, Query(description="Where the network looked")] = False,
    ) -> Response:
        """Names the most probable classes of one or several photos.

        A photo that cannot be used has a `status` and a `reason` instead of classes. If no photo
        of a request can be used, that is the status of the answer too.
        """
        settings = service.settings
        service.admission.check()
        reader = BodyReader(
            request,
            service.admission,
            max_bytes=settings.max_body_bytes,
            max_photos=settings.queue,
            seconds=settings.timeout_s,
        )
        try:
            photos = await reader.read()
            with service.admission.photos_inside(len(photos)):
                answers = await _unless_client_leaves(
                    request,
                    service.predict(
                        photos, top_k=min(top_k, num_classes), with_activation=activation
                    ),
                    settings.timeout_s,
                )
        finally:
            reader.let_go()
        if answers is None:
            return Response(status_code=_CLIENT_LEFT)
        statuses = [answer.status for answer in answers if answer.status is not None]
        content = PredictAnswer(model=service.model, photos=answers).model_dump(exclude_none=True)
        if len(statuses) < len(answers):
            return JSONResponse(content)
        reasons = "; ".join(dict.fromkeys(str(answer.reason) for answer in answers))
        raise RefusalError(max(statuses), reasons)


async def _unless_client_leaves(
    request: Request, work: Awaitable[_Result], seconds: float
) -> _Result | None:
    """The result of the work, or None if the client is gone; then the work is given up."""

    async def departure() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(departure())
    try:
        done, _ = await asyncio.wait(
            (working, leaving), timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
        if working in done:
            return working.result()
        if leaving in done:
            return None
        raise RefusalError(
            503, f"no answer within {seconds:g} s; try again", retry_after=round(seconds)
        )
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


def _add_operations(app: FastAPI, service: Service) -> None:
    @app.get("/v1/model")
    async def model() -> dict[str, Any]:
        """The model, its classes and the limits of this service."""
        settings = service.settings
        return {
            **service.model.model_dump(),
            "classes": service.contract.classes,
            "limits": {
                "body_bytes": settings.max_body_bytes,
                "pixels": settings.max_pixels,
                "photos": settings.queue,
                "seconds": settings.timeout_s,
            },
        }

    @app.get("/healthz", response_class=PlainTextResponse)
    async def healthz() -> str:
        """The process answers."""
        return "ok\n"

    @app.get("/readyz", response_class=PlainTextResponse, responses={503: {"model": Problem}})
    async def readyz() -> str:
        """The model is loaded and the service is not about to stop."""
        if service.draining:
            raise RefusalError(503, "the service is stopping; ask another one")
        return "ok\n"

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """For Prometheus."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")


def _file(name: str, media_type: str) -> Any:
    async def send_file() -> Response:
        return FileResponse(PAGES / name, media_type=media_type, headers=_HEADERS)

    return send_file


def _add_refusals(app: FastAPI) -> None:
    @app.exception_handler(RefusalError)
    async def refused(_: Request, error: RefusalError) -> Response:
        return refuse(error.status, str(error), error.retry_after)

    @app.exception_handler(FullError)
    async def full(_: Request, error: FullError) -> Response:
        return refuse(429, str(error), error.retry_after)

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=_CLIENT_LEFT)

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


class Measured:
    """Counts requests by path and status; a path that is not ours has no name of its own."""

    def __init__(self, app: ASGIApp, service: Service):
        self._app = app
        self._metrics = service.metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.monotonic(), _CLIENT_LEFT

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception:
            status = 500
            raise
        finally:
            path = scope["path"] if scope["path"] in _KNOWN_PATHS else "other"
            self._metrics.count_request(path, status, time.monotonic() - started)
