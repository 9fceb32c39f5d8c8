"""What a run leaves behind: the comparison, the page and the lines on the terminal."""
