"""Views of an image: crops (multicrop), colour in the worker (color) or on the device (device), and CutMix (cutmix)."""
