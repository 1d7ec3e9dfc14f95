"""Scenes to maps of classes, values or finer pixels."""
