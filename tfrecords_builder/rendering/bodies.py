"""Body types as side profiles: the numbers that make a van a van, and their spread.

Every length is in metres. `x` runs from the nose (0) to the tail (`length`), `y` upwards from
the road. The profile is the classic line of a car's flank:

                     screen_top       roof_end
                        ._________________.
                      /                     \\
         nose   cowl /                       \\ glass_end
          .________ /_________________________\\________ tail
          |            belt                            |
          |______( )________________________( )_______|
"""

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True, kw_only=True, slots=True)
class Body:
    """One car's proportions."""

    length: float
    height: float
    clearance: float
    """Sill above the road."""
    wheel_radius: float
    front_axle: float
    rear_axle: float
    nose: float
    """Height of the bonnet's leading edge."""
    cowl: tuple[float, float]
    """Foot of the windscreen (x, y)."""
    screen_top: float
    roof_end: float
    glass_end: tuple[float, float]
    """Foot of the rear window (x, y)."""
    tail: float
    """Height of the boot lid's, tailgate's or load bed's rear edge."""
    belt: float
    """Height of the side windows' lower edge."""
    pillars: tuple[float, ...]
    """x of the posts between the side windows."""
    window_end: float
    """x where the side windows stop; behind it the flank is sheet metal."""
    width: float = 1.75
    open_top: bool = False
    """No roof: seats and the windscreen stand above the belt."""
    load_bed: bool = False
    """An open bed behind the cab instead of a boot lid."""


BODIES: dict[str, Body] = {
    "convertible": Body(
        length=4.2, height=1.28, clearance=0.17, wheel_radius=0.33, front_axle=0.82, rear_axle=3.3,
        nose=0.62, cowl=(1.45, 0.86), screen_top=1.95, roof_end=2.9, glass_end=(3.2, 0.9),
        tail=0.84, belt=0.84, pillars=(2.55,), window_end=2.55, open_top=True,
    ),
    "coupe": Body(
        length=4.4, height=1.22, clearance=0.14, wheel_radius=0.34, front_axle=0.88, rear_axle=3.45,
        nose=0.54, cowl=(1.65, 0.8), screen_top=2.35, roof_end=2.7, glass_end=(4.1, 0.86),
        tail=0.84, belt=0.82, pillars=(2.95,), window_end=3.5,
    ),
    "hatchback": Body(
        length=3.75, height=1.5, clearance=0.17, wheel_radius=0.31, front_axle=0.72, rear_axle=3.1,
        nose=0.7, cowl=(0.98, 0.95), screen_top=1.65, roof_end=2.95, glass_end=(3.62, 0.98),
        tail=0.92, belt=0.95, pillars=(2.25,), window_end=3.2,
    ),
    "limousine": Body(
        length=7.4, height=1.5, clearance=0.18, wheel_radius=0.34, front_axle=0.9, rear_axle=6.25,
        nose=0.7, cowl=(1.4, 0.92), screen_top=2.05, roof_end=5.9, glass_end=(6.5, 0.99),
        tail=0.94, belt=0.93, pillars=(2.75, 3.7, 4.65, 5.45), window_end=6.1,
    ),
    "minibus": Body(
        length=6.0, height=2.6, clearance=0.28, wheel_radius=0.38, front_axle=1.0, rear_axle=4.5,
        nose=1.05, cowl=(0.22, 1.25), screen_top=0.62, roof_end=5.75, glass_end=(5.93, 1.4),
        tail=1.3, belt=1.3, pillars=(1.55, 2.4, 3.25, 4.1, 4.95), window_end=5.9, width=2.1,
    ),
    "pickup": Body(
        length=5.3, height=1.8, clearance=0.36, wheel_radius=0.4, front_axle=0.95, rear_axle=4.25,
        nose=0.98, cowl=(1.45, 1.15), screen_top=1.95, roof_end=2.85, glass_end=(3.05, 1.15),
        tail=1.12, belt=1.13, pillars=(2.5,), window_end=3.0, width=1.85, load_bed=True,
    ),
    "sedan": Body(
        length=4.65, height=1.49, clearance=0.17, wheel_radius=0.33, front_axle=0.88, rear_axle=3.6,
        nose=0.68, cowl=(1.35, 0.9), screen_top=2.0, roof_end=2.95, glass_end=(3.7, 0.98),
        tail=0.94, belt=0.92, pillars=(2.5,), window_end=3.35,
    ),
    "suv": Body(
        length=4.5, height=1.86, clearance=0.34, wheel_radius=0.4, front_axle=0.86, rear_axle=3.6,
        nose=0.96, cowl=(1.25, 1.14), screen_top=1.75, roof_end=4.0, glass_end=(4.4, 1.18),
        tail=1.1, belt=1.15, pillars=(2.45, 3.35), window_end=4.15, width=1.9,
    ),
    "van": Body(
        length=5.0, height=2.3, clearance=0.22, wheel_radius=0.34, front_axle=0.85, rear_axle=3.95,
        nose=0.92, cowl=(0.72, 1.22), screen_top=1.4, roof_end=4.8, glass_end=(4.95, 1.25),
        tail=1.2, belt=1.2, pillars=(), window_end=1.95, width=2.0,
    ),
    "wagon": Body(
        length=4.85, height=1.48, clearance=0.17, wheel_radius=0.33, front_axle=0.9, rear_axle=3.6,
        nose=0.68, cowl=(1.35, 0.9), screen_top=2.0, roof_end=4.2, glass_end=(4.72, 0.98),
        tail=0.94, belt=0.92, pillars=(2.5, 3.4), window_end=4.45,
    ),
}  # fmt: skip

BODY_TYPES = tuple(sorted(BODIES))
"""The ten classes, in the order of their labels."""


def sample_body(body_type: str, rng: np.random.Generator) -> Body:
    """Draws one car of the type: lengths within about 5 %, every corner a little off.

    Raises:
        KeyError: no such body type.
    """
    body = BODIES[body_type]
    stretch = rng.uniform(0.95, 1.05)
    rise = rng.uniform(0.95, 1.05)

    def along(x: float) -> float:
        return x * stretch + rng.uniform(-0.05, 0.05)

    def up(y: float) -> float:
        return y * rise + rng.uniform(-0.02, 0.02)

    return replace(
        body,
        length=body.length * stretch,
        height=up(body.height),
        clearance=max(0.1, up(body.clearance)),
        wheel_radius=body.wheel_radius * rng.uniform(0.93, 1.08),
        front_axle=along(body.front_axle),
        rear_axle=along(body.rear_axle),
        nose=up(body.nose),
        cowl=(along(body.cowl[0]), up(body.cowl[1])),
        screen_top=along(body.screen_top),
        roof_end=along(body.roof_end),
        glass_end=(
            min(along(body.glass_end[0]), body.length * stretch - 0.02),
            up(body.glass_end[1]),
        ),
        tail=up(body.tail),
        belt=up(body.belt),
        pillars=tuple(along(x) for x in body.pillars),
        window_end=along(body.window_end),
        width=body.width * rng.uniform(0.95, 1.05),
    )
