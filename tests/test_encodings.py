"""Features from centroids: by their formulas, in pipelines, on any array."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gpukm import KMeans
from gpukm.encodings import ENCODINGS, KMeansFeatures, encode

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 4))
C = np.concatenate([RNG.normal(size=(6, 4)), np.zeros((1, 4))])
Z = np.sqrt(((X[:, None] - C) ** 2).sum(axis=2))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    ("encoding", "wanted"),
    [
        ("distance", Z),
        ("onehot", np.eye(7)[Z.argmin(axis=1)]),
        ("triangle", np.maximum(Z.mean(axis=1, keepdims=True) - Z, 0)),
        ("rbf", np.exp(-0.5 * Z**2)),
        ("threshold", np.maximum(X @ (C / np.maximum(np.linalg.norm(C, axis=1), 1e-9)[:, None]).T - 0.3, 0)),
    ],
)
def test_formulas(encoding, wanted, dtype):
    """Each encoding is what its formula says, in the dtype of the data; a centroid at the origin has no direction."""
    found = encode(X.astype(dtype), C.astype(dtype), encoding, gamma=0.5, alpha=0.3)
    assert found.dtype == dtype and found.shape == wanted.shape
    assert_allclose(found, wanted, rtol=1e-4, atol=1e-6 if dtype == np.float32 else 1e-14)


def test_triangle_is_sparse():
    """About half of the features are 0, as Coates, Lee & Ng (2011) report."""
    assert 0.3 < (encode(X, KMeans(40, random_state=0).fit(X).cluster_centers_) == 0).mean() < 0.7


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_transformer_encodes_by_its_centroids(encoding, backend):
    """fit and transform, fit_transform and encode agree; the centroids are those of KMeans; any array."""
    data = backend.array(X)
    model = KMeansFeatures(5, encoding=encoding, random_state=0).fit(data)
    expected = KMeans(5, random_state=0).fit(X)
    assert_array_equal(np.asarray(model.cluster_centers_), expected.cluster_centers_)
    assert model.inertia_ == expected.inertia_
    found = model.transform(data)
    assert isinstance(found, type(data))
    assert_array_equal(np.asarray(found), np.asarray(encode(data, model.cluster_centers_, encoding)))
    again = KMeansFeatures(5, encoding=encoding, random_state=0).fit_transform(data)
    assert_array_equal(np.asarray(found), np.asarray(again))


def test_it_learns_what_a_line_cannot():
    """Two moons' worth of rings: a linear classifier on the encoded rows, in a pipeline, with a grid search over it."""
    datasets = pytest.importorskip("sklearn.datasets")
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline

    rows, y = datasets.make_circles(400, noise=0.1, factor=0.4, random_state=0)
    plain = LogisticRegression().fit(rows[:200], y[:200]).score(rows[200:], y[200:])
    search = GridSearchCV(
        make_pipeline(KMeansFeatures(16, random_state=0), LogisticRegression()),
        {"kmeansfeatures__encoding": ["triangle", "rbf"]},
        cv=3,
    ).fit(rows[:200], y[:200])
    assert plain < 0.7 and search.score(rows[200:], y[200:]) > 0.95


def test_names_of_features():
    """One a centroid, for set_output too."""
    pd = pytest.importorskip("pandas")
    pytest.importorskip("sklearn")
    frame = pd.DataFrame(X, columns=list("abcd"))
    model = KMeansFeatures(3, random_state=0).set_output(transform="pandas").fit(frame)
    assert list(model.transform(frame).columns) == ["kmeansfeatures0", "kmeansfeatures1", "kmeansfeatures2"]
    assert list(model.feature_names_in_) == list("abcd")
    assert not hasattr(model.set_output(transform="default").fit(X), "feature_names_in_")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoding": "hard"}, "'encoding' parameter of KMeansFeatures must be a str among"),
        (
            {"encoding": "rbf", "gamma": 0.0},
            "'gamma' parameter of KMeansFeatures must be None or a finite number above 0",
        ),
        ({"alpha": -1}, "'alpha' parameter"),
        ({"alpha": float("nan")}, "'alpha' parameter"),
        ({"n_clusters": 0}, "'n_clusters' parameter"),
    ],
)
def test_it_refuses(options, message):
    """What is allowed is said, and nothing is fitted."""
    model = KMeansFeatures(**options)
    with pytest.raises(ValueError, match=message):
        model.fit(X)
    assert not hasattr(model, "cluster_centers_")


def test_encode_refuses():
    """Centroids of other features, and NaN."""
    with pytest.raises(ValueError, match="does not match the number of features"):
        encode(X, C[:, :2])
    with pytest.raises(ValueError, match="centroids contains NaN"):
        encode(X, C * np.nan)
    with pytest.raises(ValueError, match="X contains NaN"):
        encode(X * np.nan, C)


def test_it_is_a_scikit_learn_estimator():
    """scikit-learn's own checks."""
    checks = pytest.importorskip("sklearn.utils.estimator_checks")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = checks.check_estimator(KMeansFeatures(), on_fail=None, on_skip=None)
    assert not [(r["check_name"], r["exception"]) for r in results if r["status"] == "failed"]
