"""The paths of the service."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Response
from fastapi.responses import FileResponse, PlainTextResponse

from trainer.serving import prediction_path
from trainer.serving.measured import Measured
from trainer.serving.refusals import RefusalError, add_refusals, describe_refusals
from trainer.serving.service import Service

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
_KNOWN_PATHS = frozenset(
    (*_FILES, prediction_path.PATH, "/v1/model", "/healthz", "/readyz", "/metrics", "/openapi.json")
)


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
    prediction_path.add_predict(app, service)
    _add_operations(app, service)
    for path, (name, media_type) in _FILES.items():
        app.add_api_route(
            path, _file(name, media_type), methods=["GET", "HEAD"], include_in_schema=False
        )
    add_refusals(app)
    app.add_middleware(Measured, metrics=service.metrics, paths=_KNOWN_PATHS)
    return app


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

    # Some watchers ask for the head only.
    @app.head("/healthz", response_class=PlainTextResponse, include_in_schema=False)
    @app.get("/healthz", response_class=PlainTextResponse)
    async def healthz() -> str:
        """The process answers."""
        return "ok\n"

    @app.head("/readyz", response_class=PlainTextResponse, include_in_schema=False)
    @app.get("/readyz", response_class=PlainTextResponse, responses=describe_refusals(503))
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
