"""What comparisons say of the claims of the paper: kept tables, paired differences, verdicts, one page."""
