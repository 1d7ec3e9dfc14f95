"""Pictures that are named whole."""
