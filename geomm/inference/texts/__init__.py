"""Texts to entities and places."""
