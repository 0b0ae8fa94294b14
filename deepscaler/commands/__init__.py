"""One module a command; the table of all stands in `table`, and only the module that was typed is imported."""
