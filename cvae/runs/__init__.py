"""A run: its folder and record, the lock that holds it, its processes, and the sweep around it."""
