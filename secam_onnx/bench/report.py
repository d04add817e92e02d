"""The results as Markdown tables, which a terminal shows as well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, median
from typing import Any

from secam_onnx.shown_text import shown, shown_name

__all__ = ["OURS", "about", "digits", "medians", "report", "running_ms", "table"]

OURS = ("forward", "explain", "explain again", "superpixels", "skimage slic", "all classes", "fused file")
"""The package's own candidates; all others are alternatives to it."""

_NONE = "-"
_MB = 1e6


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Lay out a Markdown table, the first column aligned left and the others right."""
    cells = [[shown_name(str(cell)) for cell in row] for row in (header, *rows)]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]

    def line(row: Sequence[str]) -> str:
        first, *others = zip(row, widths, strict=True)
        return " | ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)])

    rule = " | ".join(["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    return "\n".join(f"| {text} |" for text in (line(cells[0]), rule, *map(line, cells[1:]))) + "\n"


def digits(value: float | None) -> str:
    """Format three significant digits, with commas between thousands; None is a dash."""
    if value is None:
        return _NONE
    if abs(value) >= 100:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def medians(times: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The median of every candidate that ran."""
    return {name: median(runs) for name, runs in times.items() if runs}


def running_ms(folder: Mapping[str, Any]) -> dict[str, float]:
    """Time per image of a running command on the folder, beside that of the forward pass, in milliseconds.

    Returns
    -------
    dict
        `forward`, `folder`, `start` (milliseconds of the first batch, start of the process included); empty where the
        folder was skipped.
    """
    if "ms" not in folder:
        return {}
    middle = medians(folder["ms"])
    images, batch = folder["images"], folder["batch_size"]
    running = (middle["folder"] * images - middle["start"]) / (images - batch)
    return {"forward": middle["forward"], "folder": running, "start": middle["start"]}


def about(results: Mapping[str, Any]) -> str:
    """Describe machine, versions and date in a line."""
    machine = results["machine"]
    load = "" if machine["load"] is None else f", load {machine['load']:.2f} at the start"
    packages = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    return f"{machine['processor']}, {machine['cpus']} CPUs{load}; {packages}; {results['date']}"


def report(results: Mapping[str, Any]) -> str:
    """Lay out all tables.

    Parameters
    ----------
    results : mapping
        `machine.record()`, and `models`: what `measure` gives, by name.
    """
    models: Mapping[str, Any] = results["models"]
    rounds = max(len(model["ms"]["forward"]) for model in models.values())
    parts = [
        f"{about(results)}\n",
        f"Milliseconds per image, median of {rounds} rounds in which all took turns. Again: explain without a pause "
        "before it; everything else runs after a pause. Others: cores that other processes kept busy meanwhile.\n",
        _speed(models),
        *_fused(models),
        "Superpixels alone, in milliseconds.\n",
        _superpixels(models),
        "Steps of explain as it reports them, in milliseconds per image and as a share of the sum; some overlap.\n",
        _steps(models),
        "Other methods, in milliseconds and as a multiple of explain.\n",
        _others(models),
        "A folder of JPEG files to Parquet: milliseconds per image of a running command, beside forward passes of the "
        "same batch size.\n",
        _folder(models),
        "Peak memory of a fresh process, in MB.\n",
        _memory(models),
    ]
    return "\n".join(parts)


def _speed(models: Mapping[str, Any]) -> str:
    rows = []
    for name, model in models.items():
        middle = medians(model["ms"])
        plain, explain = middle["forward"], middle["explain"]
        shares = [share for candidate in OURS for share in model["others_cores"].get(candidate, ())]
        rows.append(
            [
                name,
                model.get("batch_size", 1),
                digits(plain),
                digits(explain),
                digits(explain / plain),
                digits(middle["explain again"]),
                digits(middle["explain again"] / plain),
                digits(middle["all classes"]),
                digits(middle["all classes"] / explain),
                digits(1e3 / explain),
                f"{max(0.0, mean(shares)):.2f}" if shares else "?",
            ]
        )
    header = ["model", "batch", "forward", "explain", "/ forward", "again", "/ forward", "all classes", "/ one"]
    return table([*header, "images/s", "others"], rows)


def _fused(models: Mapping[str, Any]) -> list[str]:
    """The table of fused files, if any took part."""
    rows = []
    for name, model in models.items():
        middle = medians(model["ms"])
        if "fused file" in middle:
            plain, fused = middle["forward"], middle["fused file"]
            rows.append([name, digits(plain), digits(fused), digits(fused / plain)])
    header = ["model", "forward", "fused file", "fused / forward"]
    about = "The model as a fused file in a bare session: one class, with its finished picture.\n"
    return [about, table(header, rows)] if rows else []


def _superpixels(models: Mapping[str, Any]) -> str:
    rows = []
    for name, model in models.items():
        middle, how = medians(model["ms"]), model.get("superpixels", {})
        size = " x ".join(map(str, model.get("input_size", [_NONE])))
        slic = middle.get("skimage slic")
        own = middle["superpixels"]
        method = f"{how.get('method', _NONE)}, {how.get('found', _NONE)}"
        rows.append([name, size, method, digits(own), digits(slic), digits(slic and own / slic)])
    return table(["model", "pixels", "method, how many", "superpixels", "skimage slic", "superpixels / slic"], rows)


def _steps(models: Mapping[str, Any]) -> str:
    steps = list(dict.fromkeys(step for model in models.values() for step in model["steps_ms"]))
    rows = []
    for name, model in models.items():
        middle = medians(model["steps_ms"])
        whole = sum(middle.values())
        rows.append([name, *(_share(middle.get(step), whole) for step in steps)])
    return table(["model", *steps], rows)


def _share(ms: float | None, whole: float) -> str:
    return _NONE if ms is None else f"{digits(ms)} ({ms / whole:.0%})"


def _others(models: Mapping[str, Any]) -> str:
    names = dict.fromkeys(name for model in models.values() for name in model["ms"] if name not in OURS)
    names |= dict.fromkeys(name for model in models.values() for name in model.get("skipped", {}))
    rows, reasons = [], dict[str, list[str]]()
    for name in names:
        row = [name]
        for key, model in models.items():
            middle, reason = medians(model["ms"]), model.get("skipped", {}).get(name)
            ratio = middle[name] / middle["explain"] if name in middle else None
            row.append(_NONE if ratio is None else f"{digits(middle[name])} ({digits(ratio)} x)")
            if reason:
                reasons.setdefault(f"{name}: {reason}", []).append(key)
        rows.append(row)
    notes = [shown(f"Skipped for {', '.join(keys)}: {reason}") + "\n" for reason, keys in reasons.items()]
    return "\n".join([table(["method", *models], rows), *notes])


def _folder(models: Mapping[str, Any]) -> str:
    rows, reasons = [], []
    for name, model in models.items():
        folder = model.get("folder", {"skipped": "not measured"})
        if "skipped" in folder:
            reasons.append(folder["skipped"])
            continue
        found, peaks = running_ms(folder), folder["peak_bytes"]
        rows.append(
            [
                name,
                folder["images"],
                folder["batch_size"],
                digits(found["forward"]),
                digits(found["folder"]),
                digits(found["folder"] / found["forward"]),
                digits(1e3 / found["folder"]),
                digits(found["start"] / 1e3),
                *(f"{peaks[str(key)] / _MB:.0f}" for key in ("forward", folder["batch_size"], folder["images"])),
            ]
        )
    header = ["model", "images", "batch", "forward", "folder", "/ forward", "images/s", "first batch, s"]
    header += ["peak of forward, MB", "of one batch", "of all"]
    lines = [shown(f"Skipped: {reason}") + "\n" for reason in dict.fromkeys(reasons)]
    return "\n".join(([table(header, rows)] if rows else []) + lines)


def _memory(models: Mapping[str, Any]) -> str:
    rows = []
    for name, model in models.items():
        peaks = model["peak_bytes"]
        if "skipped" in peaks:
            rows.append([name, peaks["skipped"], _NONE, _NONE])
            continue
        plain, explain = (peaks[key] / _MB for key in ("forward", "explain"))
        rows.append([name, f"{plain:.0f}", f"{explain:.0f}", f"{explain - plain:+.0f}"])
    return table(["model", "one forward pass", "one explain", "difference"], rows)
