"""What the outputs of a model say of its classes: names, ranking, softmax or sigmoid, and the logits before these."""
