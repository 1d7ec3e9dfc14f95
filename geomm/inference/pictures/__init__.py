"""Features, chips and photos to classes."""
