"""Class names: reading them in the forms that people have them in, and finding a class by what a user typed."""
