"""What pretrained features are worth: conversion, k-NN, linear, few-label and detection evaluations, one report.

This file imports nothing, so that `tools/*.py --help` answers before torch is loaded.
"""
