"""Many images: where they come from, one pass over them, and where the results go; a run can be killed and resumed."""
