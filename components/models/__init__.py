"""Models: any open_clip tower as a checkpoint, its zero-shot head, and the module that computes with it."""

from components.models.module import build as build
