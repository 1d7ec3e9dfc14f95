"""Models that name pictures whole."""
