"""The network: a backbone of `keras.applications` without its own preprocessing, and a head."""
