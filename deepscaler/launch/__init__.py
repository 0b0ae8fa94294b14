"""Says what a launcher is, and cuts a chain into jobs for one."""
