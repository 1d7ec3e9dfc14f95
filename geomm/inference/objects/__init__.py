"""Scenes to layers of objects."""
