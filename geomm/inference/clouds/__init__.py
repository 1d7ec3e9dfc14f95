"""Clouds to clouds with codes."""
