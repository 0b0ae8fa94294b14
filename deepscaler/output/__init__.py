"""Shows results to people: terminal, cells of tables, plots, HTML pages."""
