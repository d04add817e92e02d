"""From a photograph to the tensor that a model takes: images, geometry, preprocessing, and where it is stated."""
