"""The augmentation's description: checked, plain data, without TensorFlow."""

import dataclasses
import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.augment.config import VIEWS, Augmentation, View


def test_default_is_off() -> None:
    config = Augmentation()
    assert not config.crops
    assert not config.mixes
    random_fields = ("mirror", "rotation_degrees", "shift", "zoom", "brightness", "contrast")
    random_fields += ("saturation", "hue_degrees", "clahe", "adaptive_gamma", "erasing")
    assert {name: getattr(config, name) for name in random_fields} == dict.fromkeys(
        random_fields, 0
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("resize", "stretch"),
        ("center_fraction", 0),
        ("pad_value", 256),
        ("pad_value", 0.5),
        ("crop_area", (0.5, 0.2)),
        ("crop_area", (0.0, 1.0)),
        ("crop_area", (0.5,)),
        ("crop_ratio", (0.01, 1.0)),
        ("crop_ratio", (float("nan"), 1.0)),
        ("mirror", 1.1),
        ("mirror", True),
        ("rotation_degrees", 46),
        ("shift", 0.6),
        ("zoom", -0.1),
        ("brightness", float("nan")),
        ("hue_degrees", 181),
        ("clahe", "sometimes"),
        ("clahe_tiles", 0),
        ("clahe_clip_limit", 0),
        ("adaptive_gamma", -0.5),
        ("erasing", 2),
        ("erasing_area", (0.2, 1.5)),
        ("mixup_alpha", 1.5),
        ("cutmix_alpha", -1),
        ("mix_probability", "1"),
    ],
)
def test_wrong_value_is_named(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        Augmentation(**{field: value})


@given(strength=st.floats(0, 1))
def test_json_keeps_everything(strength: float) -> None:
    config = Augmentation.from_strength(strength, clahe="always", mixup_alpha=0.2)
    assert Augmentation(**json.loads(json.dumps(dataclasses.asdict(config)))) == config


@given(low=st.floats(0, 1), high=st.floats(0, 1))
def test_more_strength_is_never_weaker(low: float, high: float) -> None:
    low, high = sorted((low, high))
    weak, strong = Augmentation.from_strength(low), Augmentation.from_strength(high)
    assert strong.crop_area[0] <= weak.crop_area[0]
    for name in ("mirror", "rotation_degrees", "brightness", "hue_degrees", "erasing"):
        assert getattr(strong, name) >= getattr(weak, name), name


def test_strength_zero_is_off() -> None:
    assert Augmentation.from_strength(0) == Augmentation()


def test_strength_keeps_overrides() -> None:
    config = Augmentation.from_strength(0.5, mirror=0.0, resize="pad")
    assert (config.mirror, config.resize) == (0.0, "pad")


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_strength_outside_of_its_range_is_refused(strength: float) -> None:
    with pytest.raises(ValueError, match="strength"):
        Augmentation.from_strength(strength)


@pytest.mark.parametrize(
    "wrong", [{"scale": 0.1}, {"anchor": "left"}, {"anchor": "top_left", "scale": 0.9}]
)
def test_impossible_view_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"scale|anchor"):
        View(**wrong)


def test_five_crops_are_the_centre_and_four_corners() -> None:
    assert {view.anchor for view in VIEWS["five_crops"]} == {
        "center",
        "top_left",
        "top_right",
        "bottom_left",
        "bottom_right",
    }


def test_needs_no_tensorflow() -> None:
    program = "import sys, trainer.augment.config; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
