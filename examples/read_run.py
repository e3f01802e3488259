"""Read a gradflow run with numpy and pandas, check its bound again from the raw numbers, print the ten longest slides.

    python examples/read_run.py runs/quickstart
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

run = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/quickstart")
# These three lines are all it takes; theta.npy and path.npy are read with np.load.
summary = json.loads((run / "summary.json").read_text())
trajectory = pd.read_csv(run / "trajectory.csv", keep_default_na=True)
events = pd.read_csv(run / "events.csv")

print(f"{summary['scenario']}: {summary['status']} at t = {summary['t_end']}, {len(trajectory)} rows, {len(events)} events")

# The bound: ||r_t|| <= exp(-lambda_0 t) ||r_0||, with lambda_0 the smallest eigenvalue of the run, both sides of events included. The
# summary's lambda_0 also looks between the rows, so that it may be smaller than the smallest row, never larger.
tracked = trajectory.dropna(subset=["lambda_min"])
if summary["lambda0"] is None or tracked.empty:
    print("bound: nothing to check, the spectrum was not tracked")
elif summary["bound"]["verdict"] == "vacuous":
    print(f"bound: vacuous, {summary['bound']['reason']}")
else:
    lambda0 = summary["lambda0"]["value"]
    smallest = tracked["lambda_min"].min()
    later = trajectory[trajectory["t"] > 0]
    bound = np.exp(-lambda0 * later["t"]) * trajectory["residual_norm"].iloc[0]
    ratio = later["residual_norm"] / bound
    worst = ratio.idxmax()
    # Where the two meet to first order (t -> 0) their quotient is 1 up to the tolerance of the run.
    room = 1 + 100 * summary["tolerances"]["rtol"]
    verdict = "holds" if ratio[worst] <= room else "VIOLATED"
    print(f"lambda_0 = {lambda0:.6e}, smallest in the rows {smallest:.6e}: {'ok' if lambda0 <= smallest * (1 + 1e-12) else 'WRONG'}")
    print(f"bound {verdict}: ||r|| reaches {ratio[worst]:.9f} of it at t = {later['t'][worst]:.6g}; the summary says {summary['bound']['verdict']}")

# Slides: an entry and the next exit of the same surface. A slide without exit lasts to the end of the run.
surface = ["layer", "unit", "sample", "breakpoint"]
ends = events[events["kind"].isin(["slide_enter", "slide_exit"])].sort_values("t", kind="stable")
start = pd.DataFrame(summary["start"], columns=[*surface, "direction"])
start = start[start["direction"].isna()].assign(t=0.0, kind="slide_enter")
ends = pd.concat([start[[*surface, "t", "kind"]], ends[[*surface, "t", "kind"]]]) if len(start) else ends
ends = ends.assign(until=ends.groupby(surface)["t"].shift(-1).fillna(summary["t_end"] or ends["t"].max()))
slides = ends[ends["kind"] == "slide_enter"].assign(duration=lambda s: s["until"] - s["t"])
print(f"{len(slides)} slides; the ten longest:")
print(slides.nlargest(10, "duration")[["duration", "t", "until", *surface]].to_string(index=False))
