"""What the files beside a model, and its own metadata, say of its preprocessing and its class names."""
