"""What a model's outputs tell about its classes: names, ranking, softmax or sigmoid, and the logits before these."""
