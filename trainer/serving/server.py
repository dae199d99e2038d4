"""From settings to a listening process, and to its end."""

import asyncio
import socket
from pathlib import Path

from trainer.installed import require_modules
from trainer.serving.decoding import DecoderLimits, DecoderPool
from trainer.serving.predictor import RUNTIMES, find_model, load_predictor
from trainer.serving.settings import (
    MAX_CONNECTIONS,
    ServiceSettings,
    SettingsError,
    num_cores,
)

_FRAMEWORK = ("fastapi", "h11", "prometheus_client", "python_multipart", "uvicorn")
_SHARE_FOR_DECODING = 0.5
"""Of the time limit, for one photo."""


def serve(model: str, host: str, port: int, settings: ServiceSettings, access_log: bool) -> None:
    """Serves until SIGTERM or Ctrl-C, then answers what was accepted and returns.

    Raises:
        ContractError, ModelError: the model cannot be served.
        NotInstalledError: a package is missing.
        SettingsError: the address cannot be had.
    """
    # Mistakes are told before anything heavy starts.
    path = find_model(model)
    require_modules(_FRAMEWORK, "trainer.serve", "staged-trainer[serve]")
    runtime = RUNTIMES[path.suffix]
    require_modules([runtime], str(path), runtime.replace("_", "-"))
    given_up = asyncio.run(_serve(path, listen(host, port), settings, access_log))
    missing = f"accepted, but not answered: {given_up} photos"
    print(f"stopped; {missing if given_up else 'everything accepted was answered'}", flush=True)


async def _serve(
    model: Path, listening: socket.socket, settings: ServiceSettings, access_log: bool
) -> int:
    """Returns how many photos were accepted and not answered."""
    threads = settings.threads or num_cores()
    limits = DecoderLimits(
        max_pixels=settings.max_pixels,
        decoder_mb=settings.decoder_mb,
        timeout_s=settings.timeout_s * _SHARE_FOR_DECODING,
    )
    # Decoders, model and web framework take about as long: they get ready side by side.
    async with DecoderPool(limits, settings.decoders or num_cores()) as decoders:
        loading = asyncio.get_running_loop().run_in_executor(None, load_predictor, model, threads)
        from trainer.serving.service import Service
        from trainer.serving.web_server import make_server

        predictor, seconds = await loading
        service = Service(predictor, decoders, settings)
        # Else a first crowd would be let in whole, however slow the machine.
        service.admission.expect("network", seconds)
        server = make_server(service, access_log)
        host, port = listening.getsockname()[:2]
        described = service.model
        print(
            f"{described.id}: {described.backbone}, {described.num_classes} classes, "
            f"{described.image_px} px, {threads} threads\n"
            f"serving on http://{f'[{host}]' if ':' in host else host}:{port}",
            flush=True,
        )
        await server.serve(sockets=[listening])
        return service.admission.given_up


def listen(host: str, port: int) -> socket.socket:
    """A socket whose connections wait until the service is ready.

    Raises:
        SettingsError: the address cannot be had.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=MAX_CONNECTIONS)
    except (OSError, OverflowError) as error:
        raise SettingsError(
            f"--host={host} --port={port} cannot be had ({error}); need a free port that this user "
            "may open; choose another --port"
        ) from error
    # Connections inherit it. asyncio sets it on sockets that it makes itself only; without it, the
    # body of an answer waits 40 ms for a kept connection to acknowledge the head.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening
