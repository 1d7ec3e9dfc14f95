"""Figures and previews, drawn without a display."""
