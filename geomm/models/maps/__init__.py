"""Models that give values a pixel."""
