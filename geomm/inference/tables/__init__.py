"""Tables, layers and stacks of rasters to predictions."""
