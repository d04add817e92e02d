"""The targets and the Markdown tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import mean, median
from typing import Any

__all__ = ["report", "targets"]


def targets(results: dict[str, Any]) -> list[dict[str, Any]]:
    """The project's targets, what was measured, and whether that meets them."""
    found: list[tuple[str, float, str, float]] = []
    for name, model in results["models"].items():
        middle = {candidate: median(runs) for candidate, runs in model["ms"].items() if runs}
        if name == "resnet50":
            for candidate in ("explain", "explain again"):
                ratio = middle[candidate] / middle["forward"]
                found.append((f"{candidate} / forward, resnet50", ratio, "<=", 2.0))
        if name == "default" and "LIME" in middle:
            found.append(("LIME / explain, default", middle["LIME"] / middle["explain"], ">=", 100.0))
        found.append((f"all classes - one class, {name}, ms", middle["all classes"] - middle["explain"], "<=", 10.0))
    process = {name: median(runs) for name, runs in results["processes_s"].items()}
    found.append(("import secam_onnx, s", process["import secam_onnx"], "<", 0.2))
    found.append(("secam-onnx --help, s", process["secam-onnx --help"], "<", 0.4))
    found.append(("secam-onnx explain, s", process["secam-onnx explain"], "<", 2.5))
    meets: dict[str, Callable[[float, float], bool]] = {
        "<=": lambda measured, limit: measured <= limit,
        ">=": lambda measured, limit: measured >= limit,
        "<": lambda measured, limit: measured < limit,
    }
    return [
        {"what": what, "measured": measured, "target": f"{sign} {limit:g}", "met": meets[sign](measured, limit)}
        for what, measured, sign, limit in found
    ]


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table, the first column to the left and the others to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) + "\n"


def report(results: dict[str, Any]) -> str:
    """All tables as Markdown."""
    settings, machine = results["settings"], results["machine"]
    speed, steps, memory = [], [], []
    for name, model in results["models"].items():
        middle = {candidate: median(runs) for candidate, runs in model["ms"].items() if runs}
        plain, explain = middle["forward"], middle["explain"]
        lime = middle.get("LIME")
        row = [f"{plain:.1f}", f"{explain:.1f}", f"{explain / plain:.2f}"]
        row += [f"{middle['explain again']:.1f}", f"{middle['superpixels']:.1f}"]
        row += [f"{middle['all classes']:.1f}", f"{middle['all classes'] - explain:+.1f}"]
        row += ["-", "-"] if lime is None else [f"{lime:,.0f}", f"{lime / explain:,.0f}"]
        others = [
            share for candidate, shares in model["others_cores"].items() if candidate != "LIME" for share in shares
        ]
        speed.append([name, *row, f"{max(0.0, mean(others)):.2f}" if others else "?"])
        steps.append([name, *(f"{median(runs):.1f}" for runs in model["steps_ms"].values())])
        peaks = [model["peak_bytes"][key] / 2**20 for key in ("forward", "explain")]
        memory.append([name, *(f"{peak:.0f}" for peak in peaks), f"{peaks[1] - peaks[0]:+.0f}"])
    first = next(iter(results["models"].values()))
    processes = [[f"`{name}`", f"{median(r):.3f}", f"{min(r):.3f}"] for name, r in results["processes_s"].items()]
    verdicts = [
        [goal["what"], f"{goal['measured']:.3g}", goal["target"], "met" if goal["met"] else "missed"]
        for goal in results["targets"]
    ]
    packages = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    columns = ["model", "forward", "explain", "explain / forward", "explain again", "superpixels alone", "all classes"]
    columns += ["all - one", f"LIME, {settings['lime_samples']} samples", "LIME / explain", "other processes"]
    return "\n".join(
        [
            f"{machine['processor']}, {machine['cpus']} CPUs, load {machine['load']:.2f} at the start; {packages}; "
            f"{results['date']}\n",
            f"Milliseconds, median of {settings['repeats']} (LIME: {settings['lime_repeats']}), batch 1, CPU. Explain "
            "again follows the one before it at once; all else comes after a pause. "
            "Other processes: how many cores they kept busy meanwhile, without the time of LIME.\n",
            table(columns, speed),
            "Steps of explain as it reports them, milliseconds; superpixels are made while the network runs.\n",
            table(["model", *first["steps_ms"]], steps),
            f"Fresh processes, seconds, {settings['process_repeats']} each.\n",
            table(["command", "median", "fastest"], processes),
            "Peak memory of a fresh process, MiB.\n",
            table(["model", "one forward pass", "one explain", "difference"], memory),
            table(["target", "measured", "wanted", "verdict"], verdicts),
        ]
    )
