"""Decoding processes, without the service around them."""

import asyncio
import sys
import time
from dataclasses import replace

import psutil
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
    told: list[float] = []

    async def decode() -> None:
        async with DecoderPool(replace(LIMITS, timeout_s=0.001), 1) as pool:
            pool.on_photo = told.append
            await pool.decode(make_photo(), CONTRACT)

    with pytest.raises(UnusablePhotoError, match=r"takes more than 0\.001 s") as caught:
        asyncio.run(decode())
    assert caught.value.status == 422
    assert told == [0.001]


def test_a_plain_photo_takes_the_memory_of_its_pixels_once():
    async def decode() -> int:
        async with DecoderPool(
            DecoderLimits(max_pixels=10**7, decoder_mb=45, timeout_s=20), 1
        ) as pool:
            return (await pool.decode(make_photo(size=(3000, 3000)), CONTRACT)).width

    assert asyncio.run(decode()) == 3000


def test_a_signal_to_every_process_of_the_service_costs_no_photo():
    """As systemd sends it."""

    async def decode() -> tuple[set[psutil.Process], set[psutil.Process]]:
        # Helpers of other tests may be there too, and may end meanwhile.
        others = set(psutil.Process().children())
        async with DecoderPool(LIMITS, 1) as pool:
            await pool.decode(make_photo(), CONTRACT)
            before = set(psutil.Process().children()) - others
            for decoder in before:
                decoder.terminate()
            psutil.wait_procs(before, timeout=0.5)
            await pool.decode(make_photo(), CONTRACT)
            return before, set(psutil.Process().children()) - others

    before, after = asyncio.run(decode())
    assert before == after
    assert len(before) == 1


def test_two_decoders_share_the_time_that_a_photo_takes():
    """And their start is not part of it: Python alone takes longer than this photo."""

    async def decode() -> list[float]:
        told: list[float] = []
        async with DecoderPool(LIMITS, 2) as pool:
            pool.on_photo = told.append
            started = time.monotonic()
            await pool.decode(make_photo(), CONTRACT)
            told.append(time.monotonic() - started)
        return told

    photo, with_start = asyncio.run(decode())
    assert 0 < photo < with_start / 4


def test_a_decoder_that_cannot_be_started_is_no_fault_of_the_photo(
    monkeypatch: pytest.MonkeyPatch,
):
    async def decode() -> None:
        async with DecoderPool(replace(LIMITS, timeout_s=0.001), 1) as pool:
            with pytest.raises(UnusablePhotoError, match="takes more"):
                await pool.decode(make_photo(), CONTRACT)
            monkeypatch.setattr(sys, "executable", "/nowhere/python")
            await pool.decode(make_photo(), CONTRACT)

    with pytest.raises(UnusablePhotoError, match="no decoder can be started") as caught:
        asyncio.run(decode())
    assert caught.value.status == 503
