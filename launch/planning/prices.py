"""What the machines of trainer.accelerators cost, in money and in quota."""

PRICES_FROM = (
    "about the list prices of Google Cloud, us-central1, on demand, October 2025; not confirmed"
)
PRICES_SOURCE = "https://cloud.google.com/products/calculator"

USD_PER_HOUR = {
    "cpu": 0.0,
    "t4": 0.73,
    "t4x2": 1.46,
    "l4": 1.0,
    "a100": 3.67,
    "h100": 11.06,
    "v3-8": 8.0,
    "v3-32": 32.0,
    "v5e-1": 1.2,
    "v5e-4": 4.8,
    "v5e-8": 9.6,
    "v5e-16": 19.2,
}
"""Of the whole machine, with the processors and memory that `launch.vertex_machines` takes beside
the GPUs; 0 where there is nothing to pay."""

KAGGLE_HOURS = {"t4": 30.0, "t4x2": 30.0, "v5e-8": 20.0}
"""Quota a week, of what Kaggle lends; https://www.kaggle.com/docs/notebooks."""
