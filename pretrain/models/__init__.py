"""Networks: trunk, projector and normalisation, and the two branches that they make."""

TIMM = "timm/"  # begins the name of a trunk of timm

# torchvision's names of the trunks; here, where listing them imports no torch
TRUNKS = (
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "wide_resnet50_2",
    "wide_resnet101_2",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "resnext101_64x4d",
)
