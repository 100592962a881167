"""Builds the images of a stack: what is up to date is seen without asking the builder."""

from devenv.images.building import BuiltImages

__all__ = ["BuiltImages"]
