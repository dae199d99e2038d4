"""Any of Pillow's pixel modes -> 8-bit RGB, with no silent guess about the range of values."""

from typing import cast

from PIL import Image, ImageCms

TIFF_BITS_PER_SAMPLE = 258
BACKGROUND = (255, 255, 255)


class UnusablePixelsError(Exception):
    """The pixels are damaged, or their values have no known meaning as colours."""


def to_rgb(image: Image.Image) -> Image.Image:
    """Returns a loaded image in mode RGB.

    Transparency is laid over white. Sixteen-bit grey is scaled by its declared bits. CIE L*a*b*
    goes through its colour profile.

    Raises:
      UnusablePixelsError: floating point or 32-bit values, whose range nothing tells.
    """
    mode = image.mode
    if mode == "RGB":
        return image.copy() if "transparency" not in image.info else _over_background(image)
    if mode.startswith("I;16"):
        return _scale_grey(image, _declared_bits(image))
    if mode == "I":
        low, high = cast(tuple[int, int], image.getextrema())
        if low < 0 or high > 0xFFFF:
            raise UnusablePixelsError(f"32-bit values from {low} to {high} have no known range")
        return _scale_grey(image, 16)
    if mode == "F":
        raise UnusablePixelsError("floating point pixels have no known range")
    if mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        assert converted is not None, "only an in-place conversion returns nothing"
        return converted
    if mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        return _over_background(image)
    return image.convert("RGB")


def _over_background(image: Image.Image) -> Image.Image:
    with_alpha = image.convert("RGBA")
    background = Image.new("RGBA", with_alpha.size, (*BACKGROUND, 255))
    return Image.alpha_composite(background, with_alpha).convert("RGB")


def _declared_bits(image: Image.Image) -> int:
    tags = getattr(image, "tag_v2", None)
    bits = tags.get(TIFF_BITS_PER_SAMPLE) if tags is not None else None
    return int(bits[0]) if bits else 16


def _scale_grey(image: Image.Image, bits: int) -> Image.Image:
    # Through mode I, because Pillow's own conversion of 16-bit modes to L clips instead of scaling.
    scaled = image.convert("I").point(lambda value: value * (255 / (2**bits - 1)))
    return scaled.convert("L").convert("RGB")
