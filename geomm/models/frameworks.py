"""Loading an OpenMMLab framework only when a config names one of its classes."""

from __future__ import annotations

import importlib
import warnings

from geomm.errors import DependencyError

#: Import name of each framework -> how to get it.
FRAMEWORKS = {
    "mmseg": "pip install onedl-mmsegmentation",
    "mmdet": "pip install onedl-mmdetection",
    "mmpretrain": "pip install onedl-mmpretrain",
    "mmagic": "pip install --no-deps mmagic==1.2.0",
}


def _leave_multimodal_models_out() -> None:
    """Keep mmpretrain, which mmseg and mmdet import too, from importing its models of text and images.

    They fail with transformers 5, nothing here uses them, and without them the import is quicker.
    """
    try:
        dependency = importlib.import_module("mmpretrain.utils.dependency")
    except ImportError:
        return
    dependency.WITH_MULTIMODAL = False  # type: ignore[attr-defined]


def load_framework(scope: str) -> None:
    """Import a framework's models, so that ``type: mmseg.PSPHead`` is known.

    Raises:
      DependencyError: the framework is not installed.
    """
    from geomm.models import mmcv_ops

    mmcv_ops.install()
    _leave_multimodal_models_out()
    try:
        with warnings.catch_warnings():
            # Deprecations inside the frameworks are not the user's to mend.
            warnings.simplefilter("ignore")
            if scope == "mmagic":
                from geomm.models.maps import mmagic_bridge

                mmagic_bridge.load()
            else:
                importlib.import_module(f"{scope}.models")
                if scope == "mmdet":
                    importlib.import_module("geomm.models.heads.ssd")
        # As little, where the frameworks' models run.
        warnings.filterwarnings("ignore", message=r"torch\.meshgrid: in an upcoming", category=UserWarning)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != scope:
            raise
        raise DependencyError(f"{scope} is not installed; {FRAMEWORKS[scope]}") from error
