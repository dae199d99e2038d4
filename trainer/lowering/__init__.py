"""The training step as a program for a TPU, made and compiled on a machine that has none."""
