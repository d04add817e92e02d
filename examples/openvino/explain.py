"""Explain a photograph with a fused model in OpenVINO.

pip install openvino pillow
python explain.py fused.onnx photo.jpg overlay.png
"""

import sys

import numpy as np
import openvino
from PIL import Image

model, photo, picture = sys.argv[1:]
# In bfloat16, OpenVINO's default on processors that have it, pixels would move to other superpixels.
network = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
_, height, width, _ = (int(axis.get_max_length()) for axis in network.input("image").partial_shape)
with Image.open(photo) as image:
    pixels = np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC))

feed = {"image": pixels[None]}
if len(network.inputs) > 1:  # a model without the input `classes` chooses the highest ones
    feed["classes"] = np.array([[-1, -2, -3]])
result = network(feed)

for rank, class_id in enumerate(result["class_ids"][0]):
    print(f"{class_id}: {result['class_probabilities'][0, rank]:.4f}, logit {result['class_logits'][0, rank]:.3f}")
    contributions = result["segment_contributions"][0, rank, : result["n_segments"][0]]
    for segment in np.argsort(-contributions, kind="stable")[:3]:
        print(f"  superpixel {segment} adds {contributions[segment]:.3f}")

Image.fromarray(result["overlay"][0, 0]).save(picture)
