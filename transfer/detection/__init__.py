"""Detection and instance segmentation with detectron2; nothing outside this folder imports it."""

from __future__ import annotations

import importlib.util
import warnings

from pretrain.runtime.errors import UserError


def require_detectron2() -> None:
    """Say in one sentence that detectron2 is absent, before anything here imports it; keep its import quiet.

    Raises:
        UserError: Python finds no package named detectron2, or one without the project DeepLab.
    """
    if importlib.util.find_spec("detectron2") is None:
        raise UserError("detectron2 is not installed: run `python tools/install_detectron2.py`.")
    # detectron2 scripts functions and calls meshgrid the old way: nothing that a user of this package can change
    warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated", category=FutureWarning)
    warnings.filterwarnings("ignore", message="torch.meshgrid: in an upcoming release", category=UserWarning)
    try:
        found = importlib.util.find_spec("detectron2.projects.deeplab")
    except ModuleNotFoundError:  # of the package that would hold it
        found = None
    if found is None:
        raise UserError(
            "this detectron2 was installed without its projects, such as DeepLab: uninstall it and run "
            "`python tools/install_detectron2.py`."
        )
