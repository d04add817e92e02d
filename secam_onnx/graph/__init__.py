"""ONNX files and graphs, without anything of SeCAM: models, weights, the index of a graph, new nodes."""
