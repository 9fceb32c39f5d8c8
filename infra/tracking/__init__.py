"""The MLflow mirror: runs append events to a journal on disk, a child process replays it, and no outage reaches a result."""
