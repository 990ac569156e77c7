"""The summary: R's numbers, R's layout, readable for any number of clusters."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpukm.estimators import KMeans
from gpukm.summary import WIDTH, Summary


def summary(k=3, d=4, names=None, **changes):
    rng = np.random.default_rng(0)
    values = {
        "size": rng.integers(1, 10**6, size=k),
        "centers": rng.normal(size=(k, d)) * 10.0 ** rng.integers(-8, 8, size=d),
        "withinss": rng.uniform(size=k) * 1e5,
        "tot_withinss": 25.0,
        "totss": 200.0,
        "iter": 7,
        "converged": True,
        "feature_names": names,
    }
    return Summary(**(values | changes))


def test_the_numbers_are_those_of_r():
    """R's kmeans on iris, 3 clusters: sizes 50, 62, 38, and 88.4 % between them."""
    datasets = pytest.importorskip("sklearn.datasets")
    iris = datasets.load_iris(as_frame=True).data
    best = KMeans(3, n_init=20, random_state=0).fit(iris)
    order = [best.size_.tolist().index(size) for size in (50, 62, 38)]
    found = KMeans(3, init=best.cluster_centers_[order]).fit(iris).summary()
    np.testing.assert_array_equal(found.size, [50, 62, 38])
    np.testing.assert_allclose(found.withinss, [15.15100, 39.82097, 23.87947], atol=1e-5)
    np.testing.assert_allclose(found.centers[1], [5.901613, 2.748387, 4.393548, 1.433871], atol=1e-6)
    assert found.totss == pytest.approx(681.3706) and found.tot_withinss == pytest.approx(78.85144)
    assert found.betweenss == pytest.approx(602.5192)
    text = str(found)
    assert text.startswith("K-means clustering with 3 clusters of sizes 50, 62, 38\n")
    assert "(between_SS / total_SS =  88.4 %)" in text
    assert "petal width (cm)" in text and "converged" in text


def test_the_parts_add_up():
    """withinss adds up to tot_withinss, which is the inertia; size adds up to the rows; weights count in the sums."""
    X = np.random.default_rng(0).normal(size=(90, 3))
    model = KMeans(5, random_state=0).fit(X, sample_weight=np.arange(90))
    found = model.summary()
    assert found.withinss.sum() == pytest.approx(found.tot_withinss) and found.tot_withinss == model.inertia_
    assert found.size.sum() == 90 and found.iter == model.n_iter_
    assert found.betweenss == found.totss - found.tot_withinss


@given(k=st.integers(1, 300), d=st.integers(1, 60), named=st.booleans())
def test_the_text_fits_a_screen(k, d, named):
    """Clusters and features are left out in the middle and at the end, and the text says so."""
    names = tuple(f"a rather long feature name {j}" for j in range(d)) if named else None
    lines = str(summary(k, d, names)).splitlines()
    assert max(map(len, lines)) <= WIDTH and len(lines) < 60
    assert lines[0].startswith(f"K-means clustering with {k} cluster")
    assert (k > 20) == any(line.lstrip().startswith("...  ") for line in lines)
    shown = sum(word.startswith(("x", "a")) for word in lines[lines.index("Cluster means:") + 1].split())
    if not named:
        assert (f"(and {d - shown} more feature{'s' * (d - shown > 1)}: see centers)" in lines) == (shown < d)


@pytest.mark.parametrize("k", [3, 20, 21, 256])
def test_first_and_last_clusters_are_shown(k):
    """Up to 20 clusters are shown whole; of more, the first 17 and the last 3."""
    found = summary(k)
    text = str(found)
    assert f"\n{k - 1:>3}" in text or f"\n{k - 1}" in text
    table = text[text.index("Cluster means") : text.index("Within")].splitlines()[2:-1]
    assert [line.split()[0] for line in table] == (
        [str(i) for i in range(k)] if k <= 20 else [*map(str, range(17)), "...", *map(str, range(k - 3, k))]
    )


def test_feature_names_head_the_columns():
    """Names of a data frame's columns; x0, x1, … where there are none."""
    X = pd.DataFrame({"height": [1.0, 1.1, 5.0], "weight": [2.0, 2.1, 9.0]})
    assert "height  weight" in str(KMeans(2, random_state=0).fit(X).summary())
    assert "x0    x1" in str(KMeans(2, random_state=0).fit(X.to_numpy()).summary())


def test_degenerate_results_are_said_in_words():
    """No scatter at all, one cluster, and a run that was stopped."""
    text = str(summary(k=1, totss=0.0, tot_withinss=0.0, converged=False))
    assert "total_SS is 0: all rows are equal" in text and "stopped before converging" in text
    assert "with 1 cluster of size " in text
