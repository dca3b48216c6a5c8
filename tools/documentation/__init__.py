"""The documentation site: docs/ as it is read in a clone, and the pages that are made of the code."""
