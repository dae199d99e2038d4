"""A service that answers photos with class names; no TensorFlow in it."""
