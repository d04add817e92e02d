"""ONNX files and graphs, and nothing of SeCAM: reading and writing models, weights, a graph's index, new nodes."""
