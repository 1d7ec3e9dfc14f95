"""Python raster functions that a package carries for ArcGIS; geomm itself never runs them.

They follow the contract that Esri describes in github.com/Esri/raster-deep-learning.
"""
