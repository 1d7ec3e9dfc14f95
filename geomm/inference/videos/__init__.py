"""Videos to followed objects."""
