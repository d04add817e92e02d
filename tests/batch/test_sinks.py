"""Where results go: Parquet parts that pandas and DuckDB read, folders, tables of errors; and taking them up again."""

from __future__ import annotations

import csv
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from snippets import blocks

from secam_onnx import Explainer, Selection
from secam_onnx.batch import parquet_parts, rows
from secam_onnx.batch.folder_sink import FolderSink
from secam_onnx.batch.parquet import ParquetSink
from secam_onnx.batch.run import Sink, Totals, run
from secam_onnx.batch.run_settings import run_settings
from secam_onnx.batch.sources import Sources
from secam_onnx.errors import OptionError, OutputError
from secam_onnx.superpixels import decode_label_map

MakePhotos = Callable[..., list[Path]]

pytest.importorskip("pyarrow")
from pyarrow import parquet as pq  # noqa: E402


@pytest.fixture
def parts_of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_parts, "_ROWS", 3)


def into(explainer: Explainer, folder: Path, *names: object, resume: bool = False, **options: Any) -> Totals:
    """Explain into a dataset."""
    settings = run_settings(explainer, options.pop("classes", ["top-1"]))
    sink = ParquetSink(folder, settings, resume=resume, **options)
    return run(explainer, Sources([str(name) for name in names]), sink, settings["classes"])


@pytest.fixture
def dataset(tiny: Explainer, photos: MakePhotos, tmp_path: Path, parts_of_three: None) -> Path:
    """Seven good images and two bad ones."""
    photos(7)
    for name in ("bad.jpg", "empty.png"):
        (tmp_path / "photos" / name).write_bytes(b"no picture"[: 9 * (name == "bad.jpg")])
    totals = into(tiny, tmp_path / "out", tmp_path / "photos", label_maps=True, classes=["top-2", "0"])
    assert totals == Totals(explained=7, failed=2)
    return tmp_path / "out"


def images(dataset: Path) -> list[str]:
    return [Path(key).name for key in pq.read_table(dataset).column("image").to_pylist()]


def test_parts_errors_and_settings(dataset: Path, tiny: Explainer) -> None:
    assert sorted(str(path.relative_to(dataset)) for path in dataset.rglob("*.*")) == [
        "_errors/part-000000.parquet",
        *(f"part-{number:06d}.parquet" for number in range(3)),
    ]
    lengths = [pq.ParquetFile(path).metadata.num_rows for path in sorted(dataset.glob("*.parquet"))]
    assert lengths == [3, 3, 1]
    assert pq.ParquetFile(dataset / "part-000000.parquet").metadata.row_group(0).column(0).compression == "ZSTD"
    assert images(dataset) == [f"{number:04d}.jpg" for number in range(7)]
    errors = pq.read_table(dataset / "_errors").to_pylist()
    assert [(Path(row["image"]).name, row["kind"]) for row in errors] == [("bad.jpg", "image"), ("empty.png", "image")]
    assert "is empty" in errors[1]["message"]
    for path in dataset.rglob("*.parquet"):
        known = json.loads(pq.read_schema(path).metadata[rows.METADATA])
        assert known["classes"] == ["top-2", "0"]
        assert known["superpixels"] == {"method": "grid", "n_segments": 9, "compactness": 10.0}
        assert len(known["model_sha256"]) == 64
        assert known["model"] == tiny.model.name


def test_pandas_reads_it(dataset: Path, tiny: Explainer, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_parquet(dataset).set_index("image")
    assert len(frame) == 7
    for key, row in frame.iterrows():
        expected = tiny.explain(key, ["top-2", 0])
        assert [entry["index"] for entry in row["classes"]] == [entry.index for entry in expected.classes]
        np.testing.assert_allclose(
            np.stack(row["classes"][0]["segment_scores"]), expected.segment_scores[0], rtol=1e-4, atol=1e-6
        )
        np.testing.assert_array_equal(decode_label_map(row["segments"]), expected.segments)
    errors = pandas.read_parquet(dataset / "_errors")
    assert list(errors["kind"]) == ["image"] * 2


def test_duckdb_reads_it(dataset: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    query = f"""
        SELECT image, class.label, class.logit, list_sum(class.segment_contributions) + class.bias + class.gap
        FROM (SELECT image, unnest(classes) AS class FROM '{dataset}/*.parquet')
    """
    found = duckdb.sql(query).fetchall()
    assert len({image for image, *_ in found}) == 7
    for _, _, logit, total in found:
        assert total == pytest.approx(logit, rel=1e-4, abs=1e-5)


def test_the_query_in_the_documentation(
    explainer: Explainer, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    duckdb = pytest.importorskip("duckdb")
    (block,) = blocks("docs/how-to/many-images.md", "sql")
    into(explainer, tmp_path / "table", photo, classes=["top-3", "espresso"])
    monkeypatch.chdir(tmp_path)
    found = duckdb.sql(block.text).fetchall()
    assert {label for _, label, *_ in found} == {"tiger cat", "Egyptian cat"}
    assert all(0 < best < 1 for *_, best in found)


def test_a_dataset_is_not_touched_without_resume(dataset: Path, tiny: Explainer, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in dataset.rglob("*.parquet")}
    with pytest.raises(OutputError, match=r"[34] part files; go on with it with --resume"):
        into(tiny, dataset, tmp_path / "photos")
    assert {path: path.read_bytes() for path in dataset.rglob("*.parquet")} == before


def test_resume_does_what_is_new_only(dataset: Path, tiny: Explainer, photos: MakePhotos, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in dataset.rglob("*.parquet")}
    photos(2, first=7)
    (dataset / ".secam-killed.tmp").write_bytes(b"half")
    options = {"resume": True, "label_maps": True, "classes": ["top-2", "0"]}
    assert into(tiny, dataset, tmp_path / "photos", **options) == Totals(
        explained=2, finished_earlier=7, failed_earlier=2
    )
    assert sorted(images(dataset)) == [f"{number:04d}.jpg" for number in range(9)]
    assert all(path.read_bytes() == data for path, data in before.items())
    assert not list(dataset.glob(".secam-*"))
    again = into(tiny, dataset, tmp_path / "photos", **options)
    assert again == Totals(finished_earlier=9, failed_earlier=2)


def test_errors_are_tried_again_when_asked(dataset: Path, tiny: Explainer, photos: MakePhotos, tmp_path: Path) -> None:
    (tmp_path / "photos" / "bad.jpg").write_bytes((tmp_path / "photos" / "0000.jpg").read_bytes())
    options = {"resume": True, "label_maps": True, "classes": ["top-2", "0"]}
    totals = into(tiny, dataset, tmp_path / "photos", retry_errors=True, **options)
    assert totals == Totals(explained=1, failed=1, finished_earlier=7)
    assert images(dataset).count("bad.jpg") == 1
    assert [Path(row["image"]).name for row in pq.read_table(dataset / "_errors").to_pylist()] == ["empty.png"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"classes": ["top-1"]}, r"classes: \['top-2', '0'\] before, \['top-1'\] now"),
        ({"label_maps": False}, "label_maps: True before, False now"),
        ({"selection": Selection(top_segments=3)}, "selection: {} before, {'top_segments': 3} now"),
    ],
)
def test_other_settings_are_refused(
    change: dict[str, Any], words: str, dataset: Path, tiny_model: Path, tiny: Explainer, tmp_path: Path
) -> None:
    from secam_onnx import Segmenter

    options = {"resume": True, "label_maps": True, "classes": ["top-2", "0"], **change}
    other = Explainer(
        *(tiny_model,),
        providers="cpu",
        preprocessing="unit",
        segmenter=Segmenter("grid", 9),
        selection=options.pop("selection", None),
    )
    with pytest.raises(OptionError, match=rf"begun with other settings \(.*{words}"):
        into(other, dataset, tmp_path / "photos", **options)


def test_another_model_of_that_name_is_refused(
    dataset: Path, tiny: Explainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "tiny.onnx"
    other.write_bytes(tiny.model.read_bytes() + b"\x08\x0a")  # the same once more: the IR version
    monkeypatch.setattr(type(tiny), "model", property(lambda _: other))
    with pytest.raises(OptionError, match="model_sha256"):
        into(tiny, dataset, tmp_path / "photos", resume=True, label_maps=True, classes=["top-2", "0"])


def test_a_part_that_is_damaged_is_named(dataset: Path, tiny: Explainer, tmp_path: Path) -> None:
    part = dataset / "part-000001.parquet"
    part.write_bytes(part.read_bytes()[:200])
    with pytest.raises(OutputError, match=r"part-000001.parquet cannot be read.*Move it away"):
        into(tiny, dataset, tmp_path / "photos", resume=True, label_maps=True, classes=["top-2", "0"])


def other_columns(table: Any) -> Any:
    return table.drop_columns(["image"])


def no_settings(table: Any) -> Any:
    return table.replace_schema_metadata({})


def damaged_settings(table: Any) -> Any:
    return table.replace_schema_metadata({rows.METADATA: b'{"classes": '})


def settings_of_another_type(table: Any) -> Any:
    return table.replace_schema_metadata({rows.METADATA: b"[1, 2]"})


def no_names(table: Any) -> Any:
    pa = pytest.importorskip("pyarrow")
    return table.set_column(0, table.schema.field(0), pa.nulls(len(table), pa.string()))


@pytest.mark.parametrize("where", ["", "_errors"])
@pytest.mark.parametrize("change", [other_columns, no_settings, damaged_settings, settings_of_another_type, no_names])
def test_a_strange_part_is_named(
    change: Callable[[Any], Any], where: str, dataset: Path, tiny: Explainer, tmp_path: Path
) -> None:
    part = dataset / where / "part-000000.parquet"
    pq.write_table(change(pq.ParquetFile(part).read()), part.with_name("part-000009.parquet"))
    before = {path: path.read_bytes() for path in dataset.rglob("*.parquet")}
    options = {"label_maps": True, "classes": ["top-2", "0"]}
    with pytest.raises(OutputError, match=r"part-000009.parquet cannot be read as a part.*Move it away"):
        into(tiny, dataset, tmp_path / "photos", resume=True, **options)
    assert {path: path.read_bytes() for path in dataset.rglob("*.parquet")} == before
    part.with_name("part-000009.parquet").unlink()
    totals = into(tiny, dataset, tmp_path / "photos", resume=True, **options)
    assert totals == Totals(finished_earlier=7, failed_earlier=2)


@pytest.mark.parametrize("name", ["part-x.parquet", "part-000000 (1).parquet", "mine.parquet", "PART-1.PARQUET"])
def test_a_parquet_file_that_is_no_part_is_named(name: str, dataset: Path, tiny: Explainer, tmp_path: Path) -> None:
    """Who reads the dataset would read it as well."""
    (dataset / name).write_bytes((dataset / "part-000000.parquet").read_bytes())
    with pytest.raises(OutputError, match=rf"{re.escape(name)} is no part of the dataset.*Move it away"):
        into(tiny, dataset, tmp_path / "photos", resume=True, label_maps=True, classes=["top-2", "0"])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_or_a_folder_with_the_name_of_a_part(dataset: Path, tiny: Explainer, tmp_path: Path) -> None:
    strange = dataset / "part-000009.parquet"
    for make in (os.mkfifo, os.mkdir):
        make(strange)
        with pytest.raises(OutputError, match=r"part-000009.parquet cannot be read as a part.*a file was expected"):
            into(tiny, dataset, tmp_path / "photos", resume=True, label_maps=True, classes=["top-2", "0"])
        strange.rmdir() if make is os.mkdir else strange.unlink()


def test_a_folder_of_something_else_is_refused(tiny: Explainer, photos: MakePhotos, tmp_path: Path) -> None:
    photos(1, "out")
    with pytest.raises(OutputError, match=r"holds other files \(0000.jpg"):
        into(tiny, tmp_path / "out", tmp_path / "out")


def test_a_part_is_written_when_it_is_large_or_old(
    tiny: Explainer, photos: MakePhotos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So rows of all classes of a large model do not fill the memory, and a slow run loses little."""
    photos(4)
    for name, value in (("_BYTES", 1), ("_SECONDS", 0.0)):
        with monkeypatch.context() as patch:
            patch.setattr(parquet_parts, name, value)
            into(tiny, tmp_path / name, tmp_path / "photos")
        assert len(list((tmp_path / name).glob("part-*"))) == 4


def folders(explainer: Explainer, folder: Path, *names: object, resume: bool = False, **options: Any) -> Totals:
    classes = options.pop("classes", ["top-1"])
    sink: Sink = FolderSink(
        folder, run_settings(explainer, classes), pictures=options.pop("pictures", 0), resume=resume, **options
    )
    return run(explainer, Sources([str(name) for name in names]), sink, classes)


def test_folders_are_taken_up_again(tiny: Explainer, photos: MakePhotos, tmp_path: Path) -> None:
    paths = photos(3)
    (tmp_path / "photos" / "bad.jpg").write_bytes(b"no picture")
    out = tmp_path / "out"
    assert folders(tiny, out, tmp_path / "photos") == Totals(explained=3, failed=1)
    report = json.loads((out / "photos" / "0000.jpg" / "explanation.json").read_text())
    assert report["image"] == str(paths[0])
    with (out / "errors.csv").open() as handle:
        ((error,),) = (list(csv.DictReader(handle)),)
    assert (Path(error["image"]).name, error["kind"]) == ("bad.jpg", "image")

    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("explanation.json")}
    (out / "photos" / "0001.jpg" / "explanation.json").unlink()
    for file in (out / "photos" / "0001.jpg").iterdir():
        file.unlink()
    (out / "photos" / ".secam-killed.tmp").mkdir()
    assert folders(tiny, out, tmp_path / "photos", resume=True) == Totals(
        explained=1, finished_earlier=2, failed_earlier=1
    )
    changed = [path.parent.name for path, stamp in stamps.items() if path.stat().st_mtime_ns != stamp]
    assert changed == ["0001.jpg"]
    assert not list(out.rglob(".secam-*"))
    with pytest.raises(OptionError, match="made by a run with other settings"):
        folders(tiny, out, tmp_path / "photos", resume=True, retry_errors=True, classes=["0"])
    assert (out / "errors.csv").exists()
    totals = folders(tiny, out, tmp_path / "photos", resume=True, retry_errors=True)
    assert totals == Totals(failed=1, finished_earlier=3)
    assert len((out / "errors.csv").read_text().splitlines()) == 2
    # Without resume everything is made again, as ever.
    assert folders(tiny, out, tmp_path / "photos") == Totals(explained=3, failed=1)


def test_another_images_folder_is_not_taken_for_finished(tiny: Explainer, photos: MakePhotos, tmp_path: Path) -> None:
    first, second = photos(1, "a")[0], photos(1, "b")[0]
    assert folders(tiny, tmp_path / "out", first).explained == 1
    assert folders(tiny, tmp_path / "out", second, resume=True) == Totals(explained=1)


def test_folders_keep_out_of_a_dataset(dataset: Path, tiny: Explainer, tmp_path: Path) -> None:
    before = sorted(dataset.rglob("*"))
    with pytest.raises(OutputError, match="holds a Parquet dataset"):
        folders(tiny, dataset, tmp_path / "photos")
    assert sorted(dataset.rglob("*")) == before


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are Unicode elsewhere")
@pytest.mark.parametrize("kind", ["folders", "parquet"])
def test_errors_of_files_whose_names_are_no_unicode(tiny: Explainer, tmp_path: Path, kind: str) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / os.fsdecode(b"l\xf6we.jpg")).write_bytes(b"no picture")
    out = tmp_path / "out"
    if kind == "folders":
        totals = folders(tiny, out, tmp_path / "photos")
        text = (out / "errors.csv").read_text(encoding="utf-8")
    else:
        totals = into(tiny, out, tmp_path / "photos")
        text = str(pq.read_table(out / "_errors").to_pylist())
    assert totals == Totals(failed=1)
    assert "udcf6we.jpg" in text


def test_a_result_that_a_power_failure_left_empty_is_made_again(
    tiny: Explainer, photos: MakePhotos, tmp_path: Path
) -> None:
    photos(3)
    assert folders(tiny, tmp_path / "out", tmp_path / "photos").explained == 3
    manifest = tmp_path / "out" / "photos" / "0001.jpg" / "explanation.json"
    for damage in (b"", b"[" * 100_000, b"\xff\xfe", b'{"image": 1}'):
        manifest.write_bytes(damage)
        totals = folders(tiny, tmp_path / "out", tmp_path / "photos", resume=True)
        assert totals == Totals(explained=1, finished_earlier=2)
        assert json.loads(manifest.read_bytes())["image"].endswith("0001.jpg")


def test_files_of_another_program_are_an_error_of_their_image(
    tiny: Explainer, photos: MakePhotos, tmp_path: Path
) -> None:
    photos(3)
    place = tmp_path / "out" / "photos"
    (place / "0001.jpg").mkdir(parents=True)
    (place / "0001.jpg" / "mine.txt").write_bytes(b"mine")
    (place / "0002.jpg").write_bytes(b"mine")
    assert folders(tiny, tmp_path / "out", tmp_path / "photos") == Totals(explained=1, failed=2)
    assert (place / "0001.jpg" / "mine.txt").read_bytes() == (place / "0002.jpg").read_bytes() == b"mine"
    text = (tmp_path / "out" / "errors.csv").read_text(encoding="utf-8")
    assert text.count("something other than an earlier explanation") == 2


@pytest.mark.parametrize("kind", ["folders", "parquet"])
def test_a_second_run_in_a_folder_is_refused(kind: str, tiny: Explainer, photos: MakePhotos, tmp_path: Path) -> None:
    photos(2)
    act = folders if kind == "folders" else into
    first = FolderSink(tmp_path / "out", run_settings(tiny, ["top-1"]), pictures=0)
    (tmp_path / "out" / ".secam-1.tmp").mkdir()
    for resume in (False, True):
        with pytest.raises(OutputError, match="is in use by another run"):
            act(tiny, tmp_path / "out", tmp_path / "photos", resume=resume)
    assert (tmp_path / "out" / ".secam-1.tmp").exists(), "it is the first run's"
    first.close()
    assert act(tiny, tmp_path / "out", tmp_path / "photos", resume=True).explained == 2
    assert not list((tmp_path / "out").glob(".secam-*"))
