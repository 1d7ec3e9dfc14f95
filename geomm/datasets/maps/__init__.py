"""Scenes and chips with a class, or finer pixels, a pixel."""
