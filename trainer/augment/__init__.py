"""Augmentation and evaluation geometry, batched, inside the compiled training step.

`config` describes what is done (no TensorFlow), `batch` does it. See docs/augmentation.md.
"""
