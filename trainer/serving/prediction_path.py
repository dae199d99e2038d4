"""`POST /v1/predict`: from a request to its answer."""

import asyncio
from collections.abc import Awaitable
from typing import Annotated, Any, TypeVar

from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import JSONResponse

from trainer.serving.answers import MOST_MAPS, PredictAnswer
from trainer.serving.photos import BodyReader, JsonPhoto
from trainer.serving.refusals import CLIENT_LEFT, RefusalError, describe_refusals
from trainer.serving.service import Service

PATH = "/v1/predict"
_Result = TypeVar("_Result")
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
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["photos"],
                "properties": {"photos": {"type": "array", "items": JsonPhoto.model_json_schema()}},
            }
        },
    },
}


def add_predict(app: FastAPI, service: Service) -> None:
    """Adds the path to an application."""
    num_classes = len(service.contract.classes)

    @app.post(
        PATH,
        response_model=PredictAnswer,
        response_model_exclude_none=True,
        responses=describe_refusals(400, 408, 413, 415, 422, 429, 503),
        openapi_extra={"requestBody": _BODY},
    )
    async def predict(
        request: Request,
        top_k: Annotated[int, Query(ge=1, description="Classes a photo")] = 5,
        activation: Annotated[
            bool, Query(description=f"Where the network looked, for {MOST_MAPS} classes at most")
        ] = False,
    ) -> Response:
        """Names the most probable classes of one or several photos.

        A photo that cannot be used has a `status` and a `reason` instead of classes. If no photo
        of a request can be used, that is the status of the answer too.
        """
        settings = service.settings
        deadline = asyncio.get_running_loop().time() + settings.timeout_s
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
                    deadline,
                )
        except TimeoutError:
            seconds = settings.timeout_s
            raise RefusalError(
                503, f"no answer within {seconds:g} s; try again", max(1, round(seconds))
            ) from None
        except asyncio.CancelledError:
            # Told twice to stop, or by a request that outlasts its time limit.
            raise RefusalError(503, "the service had to stop; ask another one") from None
        finally:
            reader.let_go()
        if answers is None:
            return Response(status_code=CLIENT_LEFT)
        statuses = [answer.status for answer in answers if answer.status is not None]
        content = PredictAnswer(model=service.model, photos=answers).model_dump(exclude_none=True)
        if len(statuses) < len(answers):
            return JSONResponse(content)
        reasons = "; ".join(dict.fromkeys(str(answer.reason) for answer in answers))
        raise RefusalError(max(statuses), reasons)


async def _unless_client_leaves(
    request: Request, work: Awaitable[_Result], deadline: float
) -> _Result | None:
    """The result of the work, or None if the client is gone; then the work is given up.

    Raises:
        TimeoutError: the loop's clock has reached the deadline.
    """

    async def departure() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(departure())
    try:
        async with asyncio.timeout_at(deadline):
            await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)
