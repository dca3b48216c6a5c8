"""From sections to HTML, Markdown and figures."""
