"""A finished run as files for other runtimes, each proven on records before it gets its name."""
