"""What happens to pixels between the stored canvas and the network, as plain data.

One `Augmentation` belongs to one training stage. It also holds the evaluation geometry and the
operations that are always on, so training, evaluation, export and service read the same object.
"""

import dataclasses
import math
from typing import Any, Literal, Self

Resize = Literal["squash", "center_crop", "pad"]
Always = Literal["always"]
Anchor = Literal["center", "top_left", "top_right", "bottom_left", "bottom_right"]

MIN_TILE_PX = 2
"""Side of the smallest tile of CLAHE."""
_RESIZES = ("squash", "center_crop", "pad")
_ANCHORS = ("center", "top_left", "top_right", "bottom_left", "bottom_right")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Augmentation:
    """Every pixel operation of one stage. The default changes nothing but the size.

    Raises:
      ValueError: a field outside of the range in its description.
    """

    resize: Resize = "squash"
    """How a photo becomes a square in evaluation. "squash" stretches the whole photo, "center_crop"
    takes the largest centred square, "pad" adds bars of `pad_value` to the shorter side."""
    center_fraction: float = 1.0
    """Side of the centred part that evaluation looks at, in (0, 1]; 0.875 is 224 of 256."""
    pad_value: int = 0
    """Grey level of the bars of "pad", 0..255."""

    crop_area: tuple[float, float] = (1.0, 1.0)
    """Range of the random crop's share of the area, in (0, 1]."""
    crop_ratio: tuple[float, float] = (1.0, 1.0)
    """Range of the crop's width over height; 1 stretches the crop exactly as evaluation does."""
    mirror: float = 0.0
    """Probability of a left-right mirror image."""
    rotation_degrees: float = 0.0
    """Turn by up to this many degrees either way, 0..45; what lies outside is reflected."""
    shift: float = 0.0
    """Move by up to this share of the picture in x and in y, 0..0.5."""
    zoom: float = 0.0
    """Change the visible side by up to this share either way, 0..0.5."""

    brightness: float = 0.0
    """Factor on all channels, drawn from 1 - x .. 1 + x, 0..1."""
    contrast: float = 0.0
    """Factor on the distance from the mean luminance, drawn from 1 - x .. 1 + x, 0..1."""
    saturation: float = 0.0
    """Factor on the distance from the pixel's own luminance, drawn from 1 - x .. 1 + x, 0..1."""
    hue_degrees: float = 0.0
    """Turn of the colours at constant luminance, up to this many degrees either way, 0..180."""

    clahe: float | Always = 0.0
    """Probability of CLAHE on the luminance in training, or "always": in evaluation too."""
    clahe_clip_limit: float = 2.0
    """OpenCV's `clipLimit`: a bin's largest height as a multiple of the mean height, > 0."""
    clahe_tiles: int = 8
    """Tiles a side, 1..32; the image needs `MIN_TILE_PX` for each."""
    adaptive_gamma: float | Always = 0.0
    """Probability of adaptive gamma correction in training, or "always"."""

    erasing: float = 0.0
    """Probability that one box is overwritten with one random colour."""
    erasing_area: tuple[float, float] = (0.02, 1 / 3)
    """Range of the box's share of the picture, in (0, 1]."""
    erasing_ratio: tuple[float, float] = (0.3, 10 / 3)
    """Range of the box's width over height."""

    mixup_alpha: float = 0.0
    """Beta(alpha, alpha) of the two pictures' shares, 0 (off)..1."""
    cutmix_alpha: float = 0.0
    """Beta(alpha, alpha) of the pasted box's share, 0 (off)..1. With mixup on too, each example
    takes one of the two with equal chances."""
    mix_probability: float = 1.0
    """Probability that an example is mixed at all, where mixup or cutmix is on."""

    def __post_init__(self) -> None:
        # A configuration that was read back from JSON brings lists.
        for name in ("crop_area", "crop_ratio", "erasing_area", "erasing_ratio"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.resize not in _RESIZES:
            raise ValueError(
                f"resize is {self.resize!r}; it must be one of {', '.join(_RESIZES)}. "
                "Choose how photos become square."
            )
        for name in ("mirror", "erasing", "mix_probability"):
            _check_number(name, getattr(self, name), 0, 1, "a probability")
        for name in ("clahe", "adaptive_gamma"):
            if getattr(self, name) != "always":
                _check_number(name, getattr(self, name), 0, 1, 'a probability, or "always"')
        for name in ("brightness", "contrast", "saturation", "mixup_alpha", "cutmix_alpha"):
            _check_number(name, getattr(self, name), 0, 1)
        for name in ("shift", "zoom"):
            _check_number(name, getattr(self, name), 0, 0.5, "a share of the picture")
        _check_number("rotation_degrees", self.rotation_degrees, 0, 45)
        _check_number("hue_degrees", self.hue_degrees, 0, 180)
        _check_number("pad_value", self.pad_value, 0, 255, "a whole grey level", whole=True)
        _check_number("clahe_tiles", self.clahe_tiles, 1, 32, "a whole number", whole=True)
        _check_number("clahe_clip_limit", self.clahe_clip_limit, 1e-3, 256)
        _check_number("center_fraction", self.center_fraction, 1e-2, 1)
        turn = math.radians(self.rotation_degrees)
        turned = (1 + self.zoom) * (math.cos(turn) + math.sin(turn))
        if (turned - 1) / 2 + self.shift > 1:
            raise ValueError(
                f"shift {self.shift}, zoom {self.zoom} and rotation_degrees "
                f"{self.rotation_degrees} together reach {(turned - 1) / 2 + self.shift:.2f} "
                "photos past the border; at most 1 can be reflected. Lower one of them."
            )
        for name in ("crop_area", "erasing_area"):
            _check_range(name, getattr(self, name), 1e-3, 1)
        for name in ("crop_ratio", "erasing_ratio"):
            _check_range(name, getattr(self, name), 0.1, 10)

    @classmethod
    def from_strength(cls, strength: float, **overrides: Any) -> Self:
        """One dial for geometry, colour and erasing; 0 is off, 1 is the usual ImageNet strength.

        Args:
          strength: 0..1. At 1: crops of 8..100 % of the area with ratios 3/4..4/3, mirror 1/2,
            rotation 10 degrees, brightness, contrast and saturation 0.4, hue 18 degrees,
            erasing 1/4. In between, ranges grow linearly; the mirror is 1/2 at once.
          **overrides: fields that are set besides, or instead. Mixup, cutmix, CLAHE, adaptive
            gamma and the evaluation geometry are never touched by the dial.

        Raises:
          ValueError: `strength` outside of 0..1.
        """
        _check_number("strength", strength, 0, 1)
        if strength == 0:
            return cls(**overrides)
        dialled: dict[str, Any] = {
            "crop_area": (1 - 0.92 * strength, 1.0),
            "crop_ratio": (0.75**strength, 0.75**-strength),
            "mirror": 0.5,
            "rotation_degrees": 10 * strength,
            "brightness": 0.4 * strength,
            "contrast": 0.4 * strength,
            "saturation": 0.4 * strength,
            "hue_degrees": 18 * strength,
            "erasing": 0.25 * strength,
        }
        return cls(**(dialled | overrides))

    @property
    def crops(self) -> bool:
        """Whether training takes random crops."""
        return self.crop_area != (1.0, 1.0) or self.crop_ratio != (1.0, 1.0)

    @property
    def mixes(self) -> bool:
        """Whether labels are mixed, so that pairs of examples must stay together."""
        return self.mix_probability > 0 and (self.mixup_alpha > 0 or self.cutmix_alpha > 0)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """One look at a photo in evaluation, relative to the evaluation geometry.

    Raises:
      ValueError: `scale` outside of 0.5..4 or an unknown `anchor`.
    """

    mirror: bool = False
    """Left and right exchanged."""
    scale: float = 1.0
    """Magnification: 1.25 looks at 80 % of the side, 0.8 at 125 % with reflected margins."""
    anchor: Anchor = "center"
    """Where in the evaluation picture a magnified view lies."""

    def __post_init__(self) -> None:
        _check_number("scale", self.scale, 0.5, 4, "a magnification")
        if self.anchor not in _ANCHORS:
            raise ValueError(
                f"anchor is {self.anchor!r}; it must be one of {', '.join(_ANCHORS)}. "
                "Choose where the view lies."
            )
        if self.anchor != "center" and self.scale < 1:
            raise ValueError(
                f"anchor {self.anchor!r} with scale {self.scale} would look past the photo; a "
                "corner needs a scale of at least 1. Use the centre to zoom out."
            )


def _check_number(
    name: str, value: object, low: float, high: float, what: str = "a number", whole: bool = False
) -> None:
    kinds = (int,) if whole else (int, float)
    right_kind = isinstance(value, kinds) and not isinstance(value, bool)
    if not right_kind or not low <= value <= high:  # type: ignore[operator]
        raise ValueError(
            f"{name} is {value!r}; it must be {what} from {low:g} to {high:g}. "
            f"Set {name} inside of that range."
        )


def _check_range(name: str, value: tuple[float, ...], low: float, high: float) -> None:
    numbers = all(isinstance(x, (int, float)) and math.isfinite(x) for x in value)
    if len(value) != 2 or not numbers or not low <= value[0] <= value[1] <= high:
        raise ValueError(
            f"{name} is {value!r}; it must be a pair (low, high) with "
            f"{low:g} <= low <= high <= {high:g}. Set both ends of the range."
        )


IDENTITY = View()

VIEWS: dict[str, tuple[View, ...]] = {
    "none": (IDENTITY,),
    "mirror": (IDENTITY, View(mirror=True)),
    "scales": (IDENTITY, View(scale=1.15), View(scale=1.3)),
    "five_crops": tuple(View(scale=1.15, anchor=anchor) for anchor in _ANCHORS),  # type: ignore[arg-type]
    "ten_crops": tuple(
        View(scale=1.15, anchor=anchor, mirror=mirror)  # type: ignore[arg-type]
        for mirror in (False, True)
        for anchor in _ANCHORS
    ),
}
"""Named lists of views for test-time augmentation; predictions are averaged over a list."""
