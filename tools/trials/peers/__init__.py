"""Peers: rows of ours as another library trains them, by its own modules and losses in a plain loop (lightly).

One file a method, which ends with PEER. A file that is added here is found by itself.
"""
