"""Looks at a heap of photos before anything is built from it."""
