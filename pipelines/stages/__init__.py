"""Stages that several studies share: a few calls that belong together, under one name."""
