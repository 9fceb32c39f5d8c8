"""Where stockpot runs: the environment of a checkout, and what a cluster is made of."""
