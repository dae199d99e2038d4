"""Configurations that the tests share: each operation alone, the always-on ones, and all."""

from trainer.augment.config import Augmentation

SINGLE = {
    "off": {},
    "center_crop": {"resize": "center_crop", "center_fraction": 0.875},
    "pad": {"resize": "pad", "pad_value": 114},
    "crop": {"crop_area": (0.3, 1.0), "crop_ratio": (0.75, 1.33)},
    "crop_of_photo": {"crop_area": (0.3, 1.0), "resize": "center_crop"},
    "crop_of_padded": {"crop_area": (0.3, 1.0), "resize": "pad"},
    "mirror": {"mirror": 0.5},
    "rotation": {"rotation_degrees": 20.0},
    "rotation_of_padded": {"rotation_degrees": 20.0, "resize": "pad"},
    "shift": {"shift": 0.1},
    "zoom": {"zoom": 0.2},
    "brightness": {"brightness": 0.4},
    "contrast": {"contrast": 0.4},
    "saturation": {"saturation": 0.4},
    "hue": {"hue_degrees": 30.0},
    "clahe": {"clahe": 0.5, "clahe_tiles": 4},
    "adaptive_gamma": {"adaptive_gamma": 0.5},
    "erasing": {"erasing": 0.5},
}
EVERYTHING = {
    "strength": 0.8,
    "shift": 0.1,
    "zoom": 0.1,
    "clahe": 0.5,
    "clahe_tiles": 4,
    "adaptive_gamma": 0.5,
    "mixup_alpha": 0.2,
    "cutmix_alpha": 1.0,
}

ALWAYS = {"clahe": "always", "adaptive_gamma": "always", "clahe_tiles": 4}


def make_config(fields: dict) -> Augmentation:
    """An Augmentation; "strength" turns the dial first."""
    if "strength" in fields:
        return Augmentation.from_strength(**fields)
    return Augmentation(**fields)
