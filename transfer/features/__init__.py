"""Features of a frozen trunk: extracted from images, and kept on disk."""
