"""Every published claim that the studies can be asked about, over three base models and five seeds, and the page that says what came out."""
