"""Builds the images of a stack, and brings them to a registry: what is up to date is seen without asking the
builder, what is there already without sending anything.
"""

from devenv.images.building import BuiltImages
from devenv.images.registry import OwnRegistry

__all__ = ["BuiltImages", "OwnRegistry"]
