"""A full citizen of scikit-learn where it is installed, and no need of it where it is not."""

import os
import pickle
import subprocess
import sys
import textwrap
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")

import sklearn
from sklearn.base import clone, is_clusterer
from sklearn.cluster import KMeans as SklearnKMeans
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError, UnsetMetadataPassedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks as checks
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from gpukm.estimators import KMeans

ROOT = Path(__file__).resolve().parents[1]


def blobs(n=120, d=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) + 8 * rng.integers(0, 2, size=(n, d))


def run(code, **environment):
    """Run `code` in a fresh interpreter in which warnings are what they are by default."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


# scikit-learn's own checks


def test_check_estimator_passes():
    """All of scikit-learn's checks, among them that weights are repetitions, which its own k-means is excused from."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = checks.check_estimator(KMeans(), on_fail=None, on_skip=None)
    failed = {each["check_name"]: each["exception"] for each in results if each["status"] == "failed"}
    assert not failed
    passed = {each["check_name"] for each in results if each["status"] == "passed"}
    weights = "check_sample_weight_equivalence_on_"
    assert {weights + "dense_data", weights + "sparse_data", "check_estimator_sparse_tag"} <= passed


@pytest.mark.parametrize(
    "check",
    [
        # those for clusterers, which check_estimator only runs on subclasses of its ClusterMixin
        checks.check_clusterer_compute_labels_predict,
        checks.check_clustering,
        partial(checks.check_clustering, readonly_memmap=True),
        checks.check_estimators_partial_fit_n_features,
        # those scikit-learn runs on its own estimators only
        checks.check_dataframe_column_names_consistency,
        checks.check_transformer_get_feature_names_out,
        checks.check_transformer_get_feature_names_out_pandas,
        checks.check_set_output_transform,
        checks.check_set_output_transform_pandas,
        checks.check_global_output_transform_pandas,
        checks.check_set_output_transform_polars,
        checks.check_global_set_output_transform_polars,
        checks.check_inplace_ensure_writeable,
        checks.check_get_feature_names_out_error,
    ],
    ids=lambda check: getattr(check, "__name__", "check_clustering(readonly_memmap=True)"),
)
def test_the_checks_of_scikit_learns_own_suite_pass(check):
    """Clustering, data frames, feature names and output containers, as scikit-learn checks its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check("KMeans", KMeans())


def test_array_api_checks_pass():
    """With array-API dispatch on, its checks run on array-api-strict, on two devices; they need a fresh interpreter."""
    pytest.importorskip("array_api_strict")
    out = run(
        """
        import warnings
        warnings.simplefilter("ignore")
        from sklearn.utils.estimator_checks import check_estimator
        from gpukm.estimators import KMeans
        results = check_estimator(KMeans(), on_fail=None, on_skip=None)
        failed = [(r["check_name"], repr(r["exception"])) for r in results if r["status"] == "failed"]
        print([one for one in failed if "cudaErrorInsufficientDriver" not in one[1]])  # CuPy without a GPU: not ours
        print(sum(r["status"] == "passed" and "array_api" in r["check_name"] for r in results))
        """,
        SCIPY_ARRAY_API="1",
    )
    failed, passed = out.splitlines()
    assert failed == "[]" and int(passed) >= 4


def test_tags_say_what_it_is():
    """A clusterer that transforms, keeps float32 and float64, takes arrays of any namespace, and sparse ones."""
    tags = get_tags(KMeans())
    assert is_clusterer(KMeans()) and tags.array_api_support and tags.input_tags.sparse
    assert tags.transformer_tags.preserves_dtype == ["float64", "float32"]
    assert not tags.non_deterministic and not tags.target_tags.required


# its tools


def test_clone_keeps_parameters_and_forgets_the_fit():
    """Parameters, requests and output settings survive, fitted attributes do not."""
    model = KMeans(3, random_state=0).set_output(transform="pandas").fit(blobs())
    copy = clone(model)
    assert copy.get_params() == model.get_params() and not hasattr(copy, "labels_")
    assert type(copy.fit(blobs()).transform(blobs())).__name__ == "DataFrame"


def test_fitted_or_not_is_known_to_scikit_learn():
    """check_is_fitted works, and use before fit raises scikit-learn's NotFittedError, which pickles."""
    with pytest.raises(NotFittedError):
        check_is_fitted(KMeans())
    with pytest.raises(NotFittedError, match="This KMeans instance is not fitted yet") as error:
        KMeans().predict(blobs())
    pickle.loads(pickle.dumps(error.value))
    check_is_fitted(KMeans(2).fit(blobs()))


def test_pipelines_run_through():
    """In a Pipeline, a FeatureUnion and a ColumnTransformer it does what scikit-learn's KMeans does there."""
    X = blobs()
    ours, theirs = (
        make_pipeline(StandardScaler(), class_(4, init=X[:4], n_init=1)).fit(X) for class_ in (KMeans, SklearnKMeans)
    )
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    np.testing.assert_allclose(ours.transform(X), theirs.transform(X))
    np.testing.assert_allclose(ours.score(X), theirs.score(X))
    assert list(ours.get_feature_names_out()) == list(theirs.get_feature_names_out())
    pipe = Pipeline([("km", KMeans(3, random_state=0))])
    weighted = pipe.fit(X, km__sample_weight=np.arange(120)).named_steps["km"]
    assert weighted.inertia_ == KMeans(3, random_state=0).fit(X, sample_weight=np.arange(120)).inertia_
    union = FeatureUnion([("a", KMeans(2, random_state=0)), ("b", KMeans(3, random_state=0))]).fit_transform(X)
    assert union.shape == (120, 5)
    columns = ColumnTransformer([("km", KMeans(2, random_state=0), [0, 1])], remainder="passthrough")
    assert columns.fit_transform(X).shape == (120, 3)
    assert list(columns.get_feature_names_out()) == ["km__kmeans0", "km__kmeans1", "remainder__x2"]


def test_grid_search_finds_the_more_clusters_the_better():
    """Parameters are searched by name, in processes or not, and scores are those of score."""
    X = blobs()
    for n_jobs in (1, 2):
        search = GridSearchCV(KMeans(random_state=0), {"n_clusters": [1, 2, 8]}, cv=3, n_jobs=n_jobs).fit(X)
        assert search.best_params_ == {"n_clusters": 8}
        assert search.best_estimator_.inertia_ == KMeans(8, random_state=0).fit(X).inertia_
    assert cross_val_score(KMeans(3, random_state=0), X, cv=3).max() < 0


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_transform_comes_in_the_container_asked_for(container):
    """By set_output, by scikit-learn's configuration, and through a pipeline; "default" and None put it back."""
    library = pytest.importorskip(container)
    X = blobs()
    model = KMeans(3, random_state=0)
    plain = model.fit_transform(X)
    for frame in (
        model.set_output(transform=container).fit_transform(X),
        model.set_output(transform=None).transform(X),
        make_pipeline(KMeans(3, random_state=0)).set_output(transform=container).fit_transform(X),
    ):
        assert isinstance(frame, library.DataFrame) and list(frame.columns) == ["kmeans0", "kmeans1", "kmeans2"]
        np.testing.assert_array_equal(np.asarray(frame), plain)
    model.set_output(transform="default")
    with sklearn.config_context(transform_output=container):
        assert type(model.transform(X)) is np.ndarray  # the estimator's own setting goes first, as in scikit-learn
        assert isinstance(KMeans(3, random_state=0).fit(X).transform(X), library.DataFrame)
    assert type(model.transform(X)) is np.ndarray
    with pytest.raises(ValueError, match=r"must be one of \['default', 'pandas', 'polars'\] or None, got 'excel'"):
        model.set_output(transform="excel")


def test_a_frame_keeps_its_index():
    """The rows of a pandas frame keep their labels in transform's frame."""
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(blobs(), index=[f"row {i}" for i in range(120)], columns=["a", "b", "c"])
    found = KMeans(2, random_state=0).set_output(transform="pandas").fit_transform(X)
    assert list(found.index) == list(X.index)


def test_metadata_is_routed():
    """With routing on, sample_weight reaches fit and score where it is asked for, and is refused where nobody said."""
    X, weight = blobs(), np.random.default_rng(0).uniform(0.1, 3, size=120)
    expected = KMeans(4, random_state=0).fit(X, sample_weight=weight)
    with pytest.raises(RuntimeError, match="metadata routing is enabled"):
        KMeans().set_fit_request(sample_weight=True)
    with sklearn.config_context(enable_metadata_routing=True):
        model = KMeans(4, random_state=0)
        with pytest.raises(UnsetMetadataPassedError):
            make_pipeline(model).fit(X, sample_weight=weight)
        model.set_fit_request(sample_weight=True).set_score_request(sample_weight="score_weight")
        pipe = make_pipeline(clone(model).set_score_request(sample_weight=True)).fit(X, sample_weight=weight)
        assert pipe[-1].inertia_ == expected.inertia_
        np.testing.assert_array_equal(pipe.fit_predict(X, sample_weight=weight), expected.labels_)
        assert pipe.score(X, sample_weight=weight) == -expected.inertia_
        search = GridSearchCV(clone(model), {"n_clusters": [4]}, cv=2).fit(X, sample_weight=weight, score_weight=weight)
        assert search.best_estimator_.inertia_ == expected.inertia_
        theirs = SklearnKMeans().get_metadata_routing()
        ours = KMeans().get_metadata_routing()
        assert repr(ours) == repr(theirs)
        off = model.set_fit_request(sample_weight=False).get_metadata_routing()
        assert off.fit.requests == {"sample_weight": False} and off.score.requests == {"sample_weight": "score_weight"}
        assert not hasattr(KMeans(), "set_predict_request")


def test_notebooks_show_a_diagram():
    """The HTML of the estimator, alone and in a pipeline, names it and its parameters; text mode has none."""
    html = KMeans(3)._repr_html_()
    assert "KMeans" in html and "n_clusters" in html
    assert "KMeans" in make_pipeline(StandardScaler(), KMeans(3).fit(blobs()))._repr_html_()
    assert "KMeans" in repr(make_pipeline(StandardScaler(), KMeans(3)))
    with sklearn.config_context(display="text"):
        assert KMeans()._repr_html_() is None


# without it


def test_it_works_without_scikit_learn():
    """With its import blocked, all of the estimator works, and what needs it says so."""
    run(
        """
        import sys

        class Block:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in ("sklearn", "scipy", "pandas", "polars", "numba"):
                    raise ImportError(f"{name} is blocked")

        sys.meta_path.insert(0, Block())
        import copy, pickle, warnings
        import numpy as np
        from gpukm.estimators import KMeans
        from gpukm.functions import k_means, kmeans_plusplus
        from gpukm._sklearn import ConvergenceWarning, NotFittedError

        X = np.random.default_rng(0).normal(size=(50, 2))
        model = KMeans(3, random_state=0)
        try:
            model.predict(X)
        except NotFittedError as error:
            assert "not fitted" in str(error)
        assert model.fit_transform(X).shape == (50, 3) and model._repr_html_() is None
        assert (model.predict(X) == pickle.loads(pickle.dumps(model)).labels_).all()
        assert model.score(X) == -model.inertia_ and copy.deepcopy(model).set_params(tol=0).tol == 0
        assert list(model.get_feature_names_out()) == ["kmeans0", "kmeans1", "kmeans2"]
        assert model.set_output(transform="default") is model
        assert "88" not in repr(model) and "clusters of sizes" in str(model.summary())
        k_means(X, 2), kmeans_plusplus(X, 2)
        with warnings.catch_warnings(record=True) as record:
            warnings.simplefilter("always")
            KMeans(3).fit(np.zeros((4, 1)))
        assert [each.category for each in record] == [ConvergenceWarning], record
        try:
            model.set_output(transform="pandas")
        except ImportError as error:
            assert "pip install -U scikit-learn" in str(error)
        else:
            raise AssertionError("no error")
        try:
            model.set_fit_request(sample_weight=True)
        except ImportError as error:
            assert "set_fit_request is for" in str(error) and "pip install scikit-learn" in str(error)
        else:
            raise AssertionError("no error")
        """
    )


def test_importing_and_fitting_import_nothing_optional():
    """scikit-learn, SciPy and pandas stay out of a program that does not use them."""
    out = run(
        """
        import sys
        from gpukm.estimators import KMeans
        KMeans(2, random_state=0).fit([[0.0], [1.0], [5.0]]).transform([[1.0]])
        print([name for name in ("sklearn", "scipy", "pandas", "polars", "cupy", "numba") if name in sys.modules])
        """
    )
    assert out.strip() == "[]"
