"""What the numbers say: intervals, paired comparisons, robustness; numbers in, numbers out."""
