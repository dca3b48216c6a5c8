"""Self-supervised pretraining of ResNets with UniGrad (Tao et al., CVPR 2022, arXiv 2112.05141).

This file imports nothing, so that `tools/*.py --help` answers before torch is loaded.
"""
