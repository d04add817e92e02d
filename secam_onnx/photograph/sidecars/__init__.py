"""What the files beside a model, and its own metadata, say about its preprocessing and its class names."""
