"""A trunk for others: a folder as hubs of models hold it, and its way there."""
