"""Arrays of strangers: nothing is unpickled, and what a header claims is not believed."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from secam_onnx.errors import OptionError
from secam_onnx.export.array_files import read_array, read_arrays

ARRAY = np.arange(12.0).reshape(3, 4)


class Danger:
    """Leaves a file behind when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, ("opened", "w")


@pytest.mark.parametrize("array", [ARRAY, ARRAY.astype(">f2"), np.asfortranarray(ARRAY), ARRAY.astype(int), ARRAY[0]])
def test_numbers_are_read_as_numpy_reads_them(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", array)
    found = read_array(tmp_path / "a.npy", "it")
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype
    np.savez(tmp_path / "a.npz", one=array, two=array[:1])
    np.savez_compressed(tmp_path / "c.npz", one=array, two=array[:1])
    for name in ("a.npz", "c.npz"):
        several = read_arrays(tmp_path / name, "they")
        assert list(several) == ["one", "two"]
        np.testing.assert_array_equal(several["one"], array)


def test_all_versions_of_the_format(tmp_path: Path) -> None:
    for version in ((1, 0), (2, 0), (3, 0)):
        with (tmp_path / "a.npy").open("wb") as file:
            np.lib.format.write_array(file, ARRAY, version=version)
        np.testing.assert_array_equal(read_array(tmp_path / "a.npy", "it"), ARRAY)


def header(shape: str, descr: str = "'<f4'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def saved(array: np.ndarray) -> bytes:
    import io

    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


BAD = {
    "pickled objects": (saved(np.array([Danger(), None])), "Python objects, which are not opened"),
    "pickle": (pickle.dumps(Danger()), r"no NumPy array \(\.npy\)"),
    "text": (b"0.1 0.2\n", r"no NumPy array"),
    "empty": (b"", r"no NumPy array"),
    "archive": (b"PK\x03\x04 and so on", r"archive of several arrays"),
    "cut off": (saved(ARRAY)[:-5], r"cut off: 96 bytes of numbers were expected"),
    "huge": (header("(1000000000, 1000)"), r"1,000,000,000,000 numbers; at most"),
    "claims more than there is": (header("(10000, 1000)") + b"\0" * 100, r"cut off"),
    "negative": (header("(-1, 4)"), r"-4 numbers|header is damaged"),
    "no header": (b"\x93NUMPY\x01\x00\x10\x00", r"header is damaged"),
    "a program as header": (header("__import__('os').system('true')"), r"header is damaged"),
    "long header": (header("(" + "1," * 30_000 + ")"), r"header is damaged"),
    "strings": (saved(np.array(["a", "b"])), r"type <U1; numbers were expected"),
    "bfloat16": (header("(3,)", "'|V2'") + b"\0" * 6, r"bfloat16 is saved so"),
    "records": (saved(np.zeros(2, [("a", "f4")])), r"numbers were expected"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_other_files_are_refused(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content, message = BAD[case]
    Path("a.npy").write_bytes(content)
    with pytest.raises(OptionError, match=rf"^Cannot read the class vectors from a\.npy: .*({message})"):
        read_array("a.npy", "the class vectors")
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


def test_archives_are_refused_by_the_same_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("a.npz", one=np.array([Danger()], dtype=object), allow_pickle=True)
    with pytest.raises(OptionError, match=r"tokens from a\.npz: it holds Python objects"):
        read_arrays("a.npz", "tokens")
    np.save("b.npz.npy", ARRAY)
    with pytest.raises(OptionError, match=r"tokens from b\.npz\.npy: File is not a zip file\. Save .*numpy\.savez"):
        read_arrays("b.npz.npy", "tokens")
    with pytest.raises(OptionError, match=r"tokens from none\.npz: No such file"):
        read_arrays("none.npz", "tokens")
    assert not Path("opened").exists()


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for path, message in ((tmp_path, "it is a folder"), (tmp_path / "none.npy", "No such file")):
        with pytest.raises(OptionError, match=message):
            read_array(path, "the class vectors")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.npy")
    with pytest.raises(OptionError, match="named pipe"):
        read_array(tmp_path / "a.npy", "the class vectors")
