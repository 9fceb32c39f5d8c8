"""Places of execution. Each runs in a child process of the command, so that its death is an event and not the end of the driver."""
