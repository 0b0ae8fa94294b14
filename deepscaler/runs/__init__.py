"""Runs and chains on disk: read by status, reports and launchers; nothing here starts a process."""
