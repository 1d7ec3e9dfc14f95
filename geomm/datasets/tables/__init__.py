"""Tables and feature layers."""
