"""What differs from cluster to cluster: the site's file, where each value came from, and what a rank runs in."""
