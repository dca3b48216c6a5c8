"""How good the trunk of a run is while it learns, and which of its exports stay."""
