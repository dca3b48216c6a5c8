"""From files to batches: sources of images, the decoder, the packed file (read and written here), the loader."""
