"""The model package: one zip that holds all that inference needs, and no code that runs by itself."""

from geomm.packaging.archive import Archive, open_archive
from geomm.packaging.package import Package, load_package, save_package

__all__ = ["Archive", "Package", "load_package", "open_archive", "save_package"]
