from __future__ import annotations

import io
import re

import bad_images
import bomb_images
import numpy as np
import pytest
from PIL import Image
from serving import b64, check_json, instances

pytest.importorskip("kserve")

PHOTO = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
BAD, ODD = bad_images.bad(PHOTO), bad_images.odd(PHOTO)
KIND = {"content-type": "image/jpeg"}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_image_is_a_bad_request(server, photographs, name):
    data, words = BAD[name]
    tensor = {"name": "encoded_image", "shape": [2], "datatype": "BYTES", "data": [b64(photographs[1]), b64(data)]}
    replies = {
        "the image": [
            server.post("/v1/models/tiny:explain", data, headers=KIND),
            server.post("/v1/models/tiny:explain", data, headers={**KIND, "accept": "image/png"}),
            server.post("/v1/models/tiny:predict", data, headers=KIND),
        ],
        "instances[1]": [
            server.post(f"/v1/models/tiny:{verb}", instances(photographs[1], data)) for verb in ("explain", "predict")
        ],
        "encoded_image[1]": [server.post("/v2/models/tiny/infer", {"inputs": [tensor]})],
    }
    for place, some in replies.items():
        for reply in some:
            assert reply.status_code == 400, reply.text
            assert place in reply.json()["error"]
            assert re.search(words, reply.json()["error"]), reply.text
            assert "path" not in reply.json()["error"]


@pytest.mark.parametrize("name", ODD)
def test_an_odd_image_is_understood(server, explained, name):
    data = ODD[name]
    (found,) = server.post("/v1/models/tiny:explain", instances(data)).json()["explanations"]
    expected = explained("tiny", data)
    check_json(found["predictions"], [vars(entry) for entry in expected.predictions])
    check_json(found["geometry"], expected.geometry.to_dict())


BOMBS = {  # as small as this server's limits of bytes and pixels ask for
    "scans": lambda: bomb_images.progressive_bomb(900, 6000),
    "segments": lambda: bomb_images.app_segments_bomb(900_000),
    "tiles": lambda: bomb_images.tiled_tiff_bomb(700, 500),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_by_its_structure(server, name):
    for verb in ("explain", "predict"):
        reply = server.post(f"/v1/models/tiny:{verb}", BOMBS[name](), headers=KIND)
        assert reply.status_code == 400, reply.text
        assert "the image has more than" in reply.json()["error"]


def test_formats_that_are_off_are_named(server):
    buffer = io.BytesIO()
    Image.fromarray(PHOTO).save(buffer, "JPEG2000")
    reply = server.post("/v1/models/tiny:explain", buffer.getvalue(), headers=KIND)
    assert reply.status_code == 400
    assert "format JPEG2000, which is switched off. Add it to --formats" in reply.json()["error"]
