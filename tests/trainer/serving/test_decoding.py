"""Decoding processes, without the service around them."""

import asyncio
import time
from dataclasses import replace

import pytest

from tests.trainer.serving.running import make_contract, make_photo
from trainer.exporting.contract import Geometry
from trainer.serving.decoding import DecoderLimits, DecoderPool, UnusablePhotoError

LIMITS = DecoderLimits(max_pixels=10**6, decoder_mb=200, timeout_s=20.0)
# More pixels than a pipe and its reader hold.
CONTRACT = make_contract(
    image_px=600,
    geometry=Geometry(resize="squash", center_fraction=1.0, pad_value=0, canvas_px=600),
)


def test_who_gives_up_at_any_moment_does_not_cost_the_decoder():
    async def give_up_often() -> int:
        async with DecoderPool(LIMITS, 1) as pool:
            await pool.decode(make_photo(), CONTRACT)
            for turns in range(40):
                decoding = asyncio.create_task(pool.decode(make_photo(), CONTRACT))
                # Turn by turn of the loop through the time in which the answer arrives.
                for _ in range(turns):
                    time.sleep(0.002)
                    await asyncio.sleep(0)
                decoding.cancel()
                await asyncio.wait((decoding,))
            return (await pool.decode(make_photo(size=(7, 9)), CONTRACT)).width

    async def in_time() -> int:
        async with asyncio.timeout(60):
            return await give_up_often()

    assert asyncio.run(in_time()) == 7


def test_a_photo_gets_no_other_photos_pixels():
    async def decode_together() -> list[tuple[int, int]]:
        sizes = [(10 + index, 20) for index in range(12)]
        async with DecoderPool(LIMITS, 2) as pool:
            decoded = await asyncio.gather(
                *(pool.decode(make_photo(size=size), CONTRACT) for size in sizes)
            )
        return [(photo.width, photo.height) for photo in decoded]

    assert asyncio.run(decode_together()) == [(10 + index, 20) for index in range(12)]


def test_a_decoder_out_of_time_says_so():
    async def decode() -> None:
        async with DecoderPool(replace(LIMITS, timeout_s=0.001), 1) as pool:
            await pool.decode(make_photo(), CONTRACT)

    with pytest.raises(UnusablePhotoError, match=r"takes more than 0\.001 s") as caught:
        asyncio.run(decode())
    assert caught.value.status == 422
