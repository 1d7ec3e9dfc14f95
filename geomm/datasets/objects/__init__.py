"""Scenes and chips with objects."""
