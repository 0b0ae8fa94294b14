"""Shows results to people: terminal, table cells, plots, HTML pages."""
