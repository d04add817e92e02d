"""Many images: finding them, explaining them in one pass, and keeping results so that a killed run can be resumed."""
