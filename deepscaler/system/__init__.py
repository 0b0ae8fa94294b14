"""Services that every other package may use: processes, signals, files, paths, options and errors."""
