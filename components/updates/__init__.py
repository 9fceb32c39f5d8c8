"""What one step is: the optimiser, its schedule and precision, and how batches are drawn."""
