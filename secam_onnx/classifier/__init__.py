"""An opened classifier: what its file says, how its head is found, and what it answers for a picture."""
