"""How long a recipe takes on a machine that is not there yet: pure, without TensorFlow."""
