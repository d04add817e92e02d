"""Class names: read in the forms that people keep them in, and classes found by what a user typed."""
