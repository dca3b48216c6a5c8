"""Box, mask and semantic metrics: detectron2's evaluators, LVIS's rules, precision over recall."""
