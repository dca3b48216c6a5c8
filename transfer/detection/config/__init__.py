"""detectron2's configuration: loaded with overrides, checked against the data, scaled to the machine."""
