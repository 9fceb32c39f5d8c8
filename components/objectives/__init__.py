"""What training minimises: one frozen dataclass each, with the views it needs."""
