"""What limits the input, and what is said about it."""

import dataclasses

import pytest

from trainer.input.diagnosis import (
    StageNeed,
    StageRates,
    diagnose,
    measurements_json,
    report_lines,
    train_images_per_sec,
)

RATES = StageRates(
    name="finish",
    image_px=224,
    read_per_sec=20_000.0,
    decode_per_sec=1_000.0,
    gather_per_sec=30_000.0,
    augment_per_sec=900.0,
    transfer_mib_per_sec=6_000.0,
)
NEED = StageNeed(
    num_examples=10_000,
    canvas_bytes=256 * 256 * 3,
    cache="memory",
    images_per_sec=8_000.0,
    device_is_here=True,
)


def advice(rates: dict[str, float] | None = None, **need: object) -> tuple[str, str]:
    found = diagnose(
        dataclasses.replace(RATES, **(rates or {})), dataclasses.replace(NEED, **need), 2
    )
    return found.limit, found.advice


def test_kept_canvases_keep_up_and_only_the_first_epoch_waits() -> None:
    found = diagnose(RATES, NEED, 2)
    assert found.keeps_up is True
    assert found.first_epoch_per_sec == 1_000
    assert found.later_per_sec == 30_000
    # 10,000 photos at 1,000/s instead of 8,000/s.
    assert "9 s" in found.advice
    assert "16 cores" in found.advice


def test_cores_are_not_said_to_hide_a_first_epoch_that_waits_for_reading() -> None:
    limit, text = advice({"read_per_sec": 50.0})
    assert limit == "gather"
    assert "3.3 min in all, for reading" in text
    assert "cores" not in text


def test_cores_hide_decoding_as_far_as_reading_goes() -> None:
    _, text = advice({"read_per_sec": 4_000.0})
    assert "for decoding (8 cores would hide most of it)" in text


def test_decoding_each_epoch_asks_for_a_cache_or_cores() -> None:
    limit, text = advice(cache="none")
    assert limit == "decode"
    assert "--cache=disk" in text
    assert "1.8 GiB" in text
    assert "16 cores instead of 2" in text


def test_slow_reading_asks_for_a_local_copy() -> None:
    limit, text = advice({"read_per_sec": 50.0}, cache="none")
    assert limit == "read"
    assert "--data" in text


def test_slow_gathering_asks_for_cores_and_from_disk_for_memory() -> None:
    assert "4 cores instead of 2" in advice({"gather_per_sec": 4_000.0})[1]
    assert "--cache=memory" in advice({"gather_per_sec": 4_000.0}, cache="disk")[1]


def test_a_slow_way_to_the_device_limits_only_where_it_was_measured() -> None:
    slow = {"transfer_mib_per_sec": 100.0}
    limit, text = advice(slow)
    assert limit == "transfer"
    assert "1500 MiB/s are needed" in text
    assert advice(slow, device_is_here=False)[0] == "gather"


def test_without_an_accelerator_nothing_is_judged() -> None:
    found = diagnose(RATES, dataclasses.replace(NEED, images_per_sec=None), 2)
    assert found.keeps_up is None
    assert "--accelerator" in found.advice


def test_the_estimate_gives_the_figure_it_was_fitted_to() -> None:
    b5_at_224 = 2.39e9
    assert train_images_per_sec("v5e-8", b5_at_224, b5_at_224) == pytest.approx(7_500, rel=0.1)


def test_a_frozen_network_costs_a_third() -> None:
    whole = train_images_per_sec("t4", 1e9, 1e9)
    assert train_images_per_sec("t4", 1e9, 0.0) == pytest.approx(3 * whole)


def test_the_measurements_are_plain_data() -> None:
    data = measurements_json(2, (RATES,))
    assert data["schema_version"] == 1
    assert data["host"] == {"cores": 2}
    assert data["stages"] == [dataclasses.asdict(RATES)]


def test_the_report_says_whether_the_host_keeps_up() -> None:
    text = "\n".join(report_lines(RATES, NEED, diagnose(RATES, NEED, 2)))
    assert "this host keeps up" in text
    slow = dataclasses.replace(NEED, cache="none")
    assert "does NOT keep up" in "\n".join(report_lines(RATES, slow, diagnose(RATES, slow, 2)))
