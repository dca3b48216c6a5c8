"""Features of any set of images by any known checkpoint, in a file that other programs read, with a map of them."""
