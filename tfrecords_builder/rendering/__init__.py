"""A small renderer of made-up cars: data for the demo and for tests, from nothing but a seed."""
