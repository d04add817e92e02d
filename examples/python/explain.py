"""Explain a photograph with a fused model, with ONNX Runtime and Pillow alone.

pip install onnxruntime pillow
python explain.py fused.onnx photo.jpg overlay.png
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image

model, photo, picture = sys.argv[1:]
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
about = json.loads(session.get_modelmeta().custom_metadata_map["secam_onnx"])
height, width = about["fused"]["size"]
with Image.open(photo) as image:
    pixels = np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC))

# -1 is the class of the highest logit, -2 the next one; numbers from 0 on are class indices.
names = [output.name for output in session.get_outputs()]
answer = session.run(None, {"image": pixels[None], "classes": np.array([[-1, -2, -3]])})
result = {name: value[0] for name, value in zip(names, answer, strict=True)}

for rank, class_id in enumerate(result["class_ids"]):
    label = about["labels"][class_id] if about["labels"] else f"class {class_id}"
    print(f"{class_id} {label}: {result['class_probabilities'][rank]:.4f}, logit {result['class_logits'][rank]:.3f}")
    contributions = result["segment_contributions"][rank][: result["n_segments"]]
    for segment in np.argsort(-contributions, kind="stable")[:3]:
        print(f"  superpixel {segment} adds {contributions[segment]:.3f}")

Image.fromarray(result["overlay"][0]).save(picture)
