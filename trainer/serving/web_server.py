"""uvicorn around the application: how it stops, and how long it waits for clients."""

import asyncio
import logging
import signal
import socket
from types import FrameType

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from trainer.serving.app import make_app
from trainer.serving.service import Service
from trainer.serving.settings import MAX_CONNECTIONS


def make_server(service: Service, access_log: bool) -> "DrainingServer":
    """The server of a service; SIGTERM and SIGINT end it from now on, and are no failure."""
    seconds = service.settings.timeout_s
    config = uvicorn.Config(
        make_app(service),
        http=_patient_for(seconds),
        ws="none",
        access_log=access_log,
        log_level=logging.INFO if access_log else logging.ERROR,
        server_header=False,
        timeout_graceful_shutdown=int(seconds) + 1,
    )
    server = DrainingServer(config, service)
    # For signals before uvicorn listens to them, and for those that it sends itself again at the
    # end.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, server.handle_exit)
    return server


class DrainingServer(uvicorn.Server):
    """Tells that it is not ready for a while before it stops to listen."""

    def __init__(self, config: uvicorn.Config, service: Service):
        super().__init__(config)
        self._service = service

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serves; nothing is left at the end, also where uvicorn, told twice, leaves it all."""
        await super().serve(sockets)
        left = list(self.server_state.tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        if self.force_exit:
            await self.lifespan.shutdown()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A second signal ends the wait."""
        wait = 0.0 if self._service.draining else self._service.settings.drain_s
        self._service.draining = True
        if wait == 0:
            super().handle_exit(sig, frame)
            return
        loop = asyncio.get_running_loop()
        loop.call_soon_threadsafe(loop.call_later, wait, super().handle_exit, sig, frame)


def _patient_for(seconds: float) -> type[asyncio.Protocol]:
    """uvicorn's protocol, which waits for ever for the rest of a head or of a refused body."""

    class PatientProtocol(H11Protocol):
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > MAX_CONNECTIONS:
                transport.abort()
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_timer()
            super().connection_lost(exc)

        def _watch(self) -> None:
            """Starts the clock when the client owes us something, once for all that it owes."""
            answered = self.cycle is None or self.cycle.response_complete
            if not answered or self.conn.their_state is h11.DONE:
                self._stop_timer()
            elif self._timer is None:
                self._timer = self.loop.call_later(seconds, self.transport.abort)

        def _stop_timer(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    return PatientProtocol
