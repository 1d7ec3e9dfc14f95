"""Python raster functions that packages carry for ArcGIS, and what these share.

geomm itself never runs them. They follow the contract that Esri describes in
github.com/Esri/raster-deep-learning.
"""
