"""What is annotated in images: VOC's XML, COCO's JSON, masks and label images, read and checked without detectron2."""
