"""Counts the requests of an application."""

import time
from collections.abc import Container

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trainer.serving.metrics import Metrics
from trainer.serving.refusals import CLIENT_LEFT


class Measured:
    """Counts requests by path and status; a path that is not ours has no name of its own."""

    def __init__(self, app: ASGIApp, metrics: Metrics, paths: Container[str]):
        self._app, self._metrics, self._paths = app, metrics, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.monotonic(), CLIENT_LEFT

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
            path = scope["path"] if scope["path"] in self._paths else "other"
            self._metrics.count_request(path, status, time.monotonic() - started)
