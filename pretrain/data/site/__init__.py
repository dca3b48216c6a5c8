"""What a machine or a cluster says of the images: where they are, and the disk of a node to which they are copied."""
