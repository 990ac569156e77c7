"""Small fits of odd shapes on the device, equal to the CPU's: what compute-sanitizer watches."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent.parent)]

SHAPES = [(1, 1, 1), (65, 3, 5), (130, 17, 33), (257, 64, 7), (200, 130, 70)]


def main(device: str = "cuda") -> int:
    import numpy as np

    from gpukm import KMeans

    rng = np.random.default_rng(0)
    for n, d, k in SHAPES:
        for dtype in (np.float32, np.float64, np.uint8):
            X = (rng.random((n, d)) * 200).astype(dtype)
            fits = [KMeans(k, random_state=0, n_init=1, max_iter=3, device=where).fit(X) for where in ("cpu", device)]
            for name in ("cluster_centers_", "labels_", "inertia_"):
                np.testing.assert_array_equal(getattr(fits[0], name), getattr(fits[1], name))
    print("equal")
    return 0


if __name__ == "__main__":
    sys.exit(main())
