"""One command for all tools: which there are, how one is started, and what it runs on."""
