"""The report: what pretraining runs did and what their features are worth, as one HTML page and as Markdown.

This file imports nothing, so that `tools/report.py --help` answers before anything heavy is loaded.
"""
