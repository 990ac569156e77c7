"""The package as a whole: what it imports, what it promises to be, that what its text cites is there."""

import ast
import importlib
import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import gpukm

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "gpukm").rglob("*.py"))
SKIPPED = {
    ".git",
    ".venv",
    "venv",
    "build",
    "dist",
    "results",
    "__pycache__",
    ".hypothesis",
    ".mypy_cache",
    ".ruff_cache",
}
CORE = {"numpy", "array_api_compat"}

# Which modules of gpukm a module may import: only what lies below it. "gpukm" is the version in gpukm/__init__.py.
ARRAYS = {"_arrays", "exact"}
BELOW_ESTIMATORS = {
    "_arrays",
    "_containers",
    "_fitted",
    "_fitting",
    "_opened",
    "_sklearn",
    "_validation",
    "array_source",
    "checkpoint",
    "hartigan_wong",
    "kernels",
    "lloyd",
    "macqueen",
    "placing",
    "runs",
    "refine",
    "seeding",
    "sources",
    "summary",
}
ALLOWED = {
    "_arrays": set(),
    "_ahead": set(),
    "_heap": set(),
    "_extras": set(),
    "_files": set(),
    "_half": set(),
    "_past_cache": set(),
    "_rows": {"_past_cache"},
    "_threads": set(),
    "exact": set(),
    "summary": set(),
    "_columns": {"_files"},
    "_containers": {"_arrays", "_extras"},
    "_csv": {"_columns", "_files"},
    "_sklearn": {"_arrays", "_containers"},
    "_nonfinite": set(),
    "_places": {"_arrays"},
    "_validation": {"_arrays", "_containers", "_nonfinite", "_places"},
    "kernels": {"_extras"} | ARRAYS,
    "sources": {"exact"},  # the interface; what it is for arrays comes next
    "_blocks": {"_half", "_threads", "sources"} | ARRAYS,
    "measured": {"_blocks", "_nonfinite", "kernels", "sources"} | ARRAYS,
    "array_source": {"_threads", "kernels", "measured", "sources"} | ARRAYS,
    "_format_rows": {"_columns", "_extras", "_files", "_rows"},
    "_dask": {"_arrays", "_rows"},
    "readers": {"_columns", "_dask", "_files", "_format_rows", "_past_cache", "_rows"},
    "chunks": {"_ahead", "_arrays", "_containers", "_rows", "_validation"},
    "column_sums": {"exact"},
    "survey": {"_blocks", "_validation", "chunks", "column_sums", "exact", "kernels"},
    "stream_source": {"_arrays", "_threads", "_validation", "array_source", "chunks", "exact", "kernels"}
    | {"measured", "sources", "survey"},
    "device_stream": {"_ahead", "_arrays", "chunks", "device_source", "exact", "kernels", "sources", "stream_source"},
    "_opened": {"_arrays", "_containers", "_files", "_rows", "_validation"}
    | {"array_source", "chunks", "device_stream", "placing", "readers", "stream_source"},
    "sparse_source": {"_nonfinite", "_threads", "array_source", "exact", "kernels", "sources"},
    "oversampling": {"kernels"},
    "seeding": {"array_source", "exact", "kernels", "lloyd", "oversampling"},
    "lloyd": {"exact", "sources"},
    "device_source": {"_nonfinite", "array_source", "exact", "kernels", "sources"},
    "trial": {"_threads", "array_source", "device_source", "kernels", "sources"},
    "placing": {"_arrays", "_validation", "array_source", "device_source", "kernels", "sparse_source", "trial"},
    "swap": {"exact", "lloyd", "sources"},
    "refine": {"hartigan_wong", "lloyd", "swap"},
    "minibatch": {"sources"},
    "batches": {"_arrays", "array_source", "kernels", "sparse_source"},
    "checkpoint": {"_arrays", "_containers", "_files", "gpukm", "lloyd", "sources"},
    "runs": {"checkpoint", "lloyd", "sources"},
    "_fitted": {"_arrays", "_dask", "_files", "_opened", "_places", "_sklearn", "_validation"}
    | {"array_source", "chunks", "placing", "readers"},
    "_fitting": BELOW_ESTIMATORS - {"_fitting", "hartigan_wong", "macqueen"},
    "transfers": {"array_source", "exact", "kernels", "lloyd", "sources"},
    "hartigan_wong": {"array_source", "lloyd", "sources", "transfers"},
    "macqueen": {"array_source", "lloyd", "sources", "transfers"},
    "one_dimension": {"_arrays", "_containers", "_nonfinite", "_validation", "array_source", "exact", "lloyd"},
    "trimmed": BELOW_ESTIMATORS | {"exact"},
    "encodings": {"_arrays", "_fitted", "_fitting", "_validation", "array_source", "estimators", "placing"},
    "vq": {"_arrays", "_containers", "_validation", "array_source", "exact", "kernels", "placing"},
    "estimators": BELOW_ESTIMATORS,
    "minibatch_start": {"array_source", "batches"},
    "minibatch_kmeans": {"batches", "minibatch", "minibatch_start"} | BELOW_ESTIMATORS,
    "bisecting": {"estimators"} | BELOW_ESTIMATORS,
    "spherical": {"_nonfinite", "estimators", "exact"} | BELOW_ESTIMATORS,
    "functions": {"estimators", "swap"} | BELOW_ESTIMATORS,
    "info": {"_extras", "_threads", "gpukm", "kernels"},
    "compiling": {"_extras", "_sklearn", "estimators", "kernels", "minibatch_kmeans"},
    "model_io": {"_arrays", "_containers", "_files", "_fitting", "_validation", "gpukm", "sources"}
    | {"estimators", "minibatch_kmeans"},
    "_arguments": set(),
    "_usage": {"_files"},
    "color": {"_arguments", "_extras", "_files", "_heap", "_threads", "_usage"} | BELOW_ESTIMATORS,
    "tables": {"_columns", "_csv", "_extras", "_files"},
    "_progress": {"sources"},
    "_commands": {
        "_files",
        "_nonfinite",
        "_progress",
        "_rows",
        "compiling",
        "estimators",
        "info",
        "model_io",
        "_usage",
        "readers",
        "tables",
    },
    "cli": {"_arguments", "_commands", "_usage", "_validation", "color", "gpukm"},
    "__main__": {"cli"},
    "gpukm": {
        "bisecting",
        "color",
        "estimators",
        "functions",
        "minibatch_kmeans",
        "model_io",
        "readers",
        "spherical",
    },
}
# The one import that goes up, inside a method: save is a convenience for gpukm.model_io.save.
UPWARDS = {("_fitting", "model_io")}

# Which modules may import an optional package, and then only inside a function.
OPTIONAL = {
    "cupy": {"_containers", "kernels"},
    "llvmlite": {"kernels"},
    "numba": {"kernels"},
    "PIL": {"color"},
    "h5py": {"_format_rows"},
    "pyarrow": {"_format_rows", "tables"},
    "rich": {"_progress", "color"},
    "scipy": {"kernels"},
    "sklearn": {"_sklearn"},
    "threadpoolctl": {"_threads"},
    "zarr": {"_format_rows"},
}


def module_name(path: Path) -> str:
    """The room of a file in the table: a module, or the folder kernels as a whole."""
    parts = path.relative_to(ROOT / "gpukm").with_suffix("").parts
    return "gpukm" if parts == ("__init__",) else parts[0]


def imports(path: Path) -> list[tuple[str, bool]]:
    """Full names of the modules that a file imports, and whether that happens when the file is imported."""
    tree = ast.parse(path.read_text())
    lazy = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) not in lazy) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = ["gpukm", *path.relative_to(ROOT / "gpukm").parts][: -node.level] if node.level else []
            base = ".".join([*package, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = ROOT / Path(*base.split("."), alias.name)
                is_module = base.startswith("gpukm") and (inner.with_suffix(".py").exists() or inner.is_dir())
                found.append((f"{base}.{alias.name}" if is_module else base, id(node) not in lazy))
    return found


def texts() -> list[Path]:
    """The project's own text files."""
    files = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in SKIPPED and not name.endswith(".egg-info")]
        files += [Path(folder, name) for name in names if name.endswith((".py", ".md", ".toml", ".cu", ".cuh"))]
    return sorted([*files, ROOT / ".ci" / "run"])


def run(code: str) -> str:
    """Run Python code in a process of its own and return what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


# -- imports ---------------------------------------------------------------------------------------------


def test_importing_gpukm_needs_numpy_only():
    """No extra, no array library and no engine is imported before it is used."""
    loaded = run(
        "import sys; before = set(sys.modules); import gpukm\n"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names))"
    )
    third_party = {name for name in loaded.split() if not name.startswith("_")}
    assert third_party <= {"gpukm", "numpy"}


def test_clustering_works_without_any_optional_package():
    """With all but NumPy and array-api-compat hidden, fit, predict, summary, save, load and quantize work."""
    out = run(
        f"""
import sys
allowed = set(sys.stdlib_module_names) | set(sys.modules) | {CORE!r} | {{"gpukm"}}
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in allowed and not name.startswith("_sysconfigdata"):
            raise ModuleNotFoundError(f"{{name}} is hidden", name=name)
sys.meta_path.insert(0, Hidden())
import os, tempfile
import numpy as np
import gpukm, gpukm.cli
X = np.random.default_rng(0).normal(size=(500, 3))
model = gpukm.KMeans(4, random_state=0).fit(X)
path = os.path.join(tempfile.mkdtemp(), "m.npz")
model.save(path)
assert (gpukm.load(path).predict(X) == model.labels_).all()
assert "totss" in str(model.summary())
assert gpukm.k_means(X, 4, random_state=0)[2] == model.inertia_
assert len(gpukm.kmeans_plusplus(X, 4, random_state=0)[0]) == 4
assert len(gpukm.quantize((X[:, None] * 40 + 128).clip(0, 255).astype(np.uint8), 4).palette) == 4
assert gpukm.cli.main(["info"]) == 0
print("done")
"""
    )
    assert out.endswith("done\n")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down_only(path):
    """Each module imports what the table allows it; from outside kernels/ nobody looks into it."""
    name, is_engine = module_name(path), path.stem.endswith("_numba")
    assert name in ALLOWED, f"{name} is new: give it a row in the table, as low as it goes"
    for imported, eager in imports(path):
        root, _, rest = imported.partition(".")
        if root == "gpukm":
            target = rest.partition(".")[0] or "gpukm"
            assert not (eager and rest.endswith("_numba")) or is_engine, f"{name} must import {rest} inside a function"
            if target == name or ((name, target) in UPWARDS and not eager):
                continue
            assert target in ALLOWED[name], f"{name} may not import {imported}"
            within = {"kernels", "kernels.cuda"} if name.startswith("device_s") else {"kernels"}
            assert target != "kernels" or rest in within, f"{name} may import gpukm.kernels, not {imported}"
        elif root in OPTIONAL:
            assert name in OPTIONAL[root], f"{name} may not import {root}; {OPTIONAL[root]} may"
            assert not eager or is_engine, f"{name} must import {root} inside a function"
        else:
            assert root in CORE | set(sys.stdlib_module_names), f"{root} is in no list: add it to OPTIONAL"
        assert root != "array_api_compat" or name == "_arrays", "only gpukm/_arrays.py asks what kind of array it is"


def test_the_table_of_imports_has_no_cycle_and_no_dead_row():
    """Modules can be put in an order in which each imports only earlier ones."""
    assert set(ALLOWED) == {module_name(path) for path in MODULES}
    done: set[str] = set()
    # the version in gpukm/__init__.py is no logic: "gpukm" as a target does not count
    left = {name: targets - {"gpukm"} for name, targets in ALLOWED.items()}
    while left:
        free = {name for name, targets in left.items() if targets <= done}
        assert free, f"a cycle among {sorted(left)}"
        done |= free
        left = {name: targets for name, targets in left.items() if name not in free}


# -- names and version -----------------------------------------------------------------------------------


def test_the_public_names_are_these():
    """__all__ is exact; each name is there, documented, and listed by dir()."""
    assert gpukm.__all__ == [
        "BisectingKMeans",
        "KMeans",
        "MiniBatchKMeans",
        "SphericalKMeans",
        "__version__",
        "k_means",
        "kmeans_plusplus",
        "load",
        "open_rows",
        "quantize",
        "random_swap",
    ]
    for name in gpukm.__all__:
        assert name in dir(gpukm) and getattr(gpukm, name).__doc__
    for name in (
        "BisectingKMeans",
        "KMeans",
        "MiniBatchKMeans",
        "SphericalKMeans",
        "k_means",
        "kmeans_plusplus",
        "load",
        "open_rows",
        "quantize",
        "random_swap",
    ):
        assert callable(getattr(gpukm, name))
    with pytest.raises(AttributeError, match="module 'gpukm' has no attribute 'KMean'"):
        _ = gpukm.KMean


def test_the_version_has_one_source():
    """pyproject.toml takes it from gpukm/__init__.py; the changelog has an entry for it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"] and "version" not in project["project"]
    assert project["tool"]["hatch"]["version"]["path"] == "gpukm/__init__.py"
    assert re.search(rf"^## {re.escape(gpukm.__version__)}\b", (ROOT / "CHANGELOG.md").read_text(), re.M)
    try:
        installed = importlib.metadata.version("gpukm")
    except importlib.metadata.PackageNotFoundError:
        return
    assert installed == gpukm.__version__


def test_every_extra_the_code_names_can_be_installed():
    """Error messages and `gpukm info` name extras that pyproject.toml has, with the packages they say."""
    from gpukm._extras import EXTRAS

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for name, (_, packages) in EXTRAS.items():
        listed = {re.split(r"[\[<>=!;~ ]", requirement)[0] for requirement in extras[name]}
        assert set(packages) == listed
    named = {name for path in texts() for name in re.findall(r"gpukm\[([a-z0-9]+)\]", path.read_text())}
    assert named <= set(extras)


def test_the_package_is_typed():
    """py.typed lies in the package."""
    assert (ROOT / "gpukm" / "py.typed").exists()


# -- text ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_stay_short(path):
    """One idea a file: 320 lines at most."""
    assert len(path.read_text().splitlines()) <= 320


@pytest.mark.parametrize("path", texts(), ids=lambda path: str(path.relative_to(ROOT)))
def test_cited_paths_exist(path):
    """A comment or document that names a file of this repository names one that is there."""
    cited = re.findall(r"(?<![\w/.'\-])(?:gpukm|tests|bench|examples|\.ci)/[\w./-]*\w", path.read_text())
    missing = sorted({name for name in cited if not (ROOT / name).exists()})
    assert not missing


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_cited_names_exist(path):
    """A name such as `gpukm.model_io.save` in backticks can be imported."""
    for name in set(re.findall(r"`(gpukm(?:\.\w+)+)`", path.read_text())):
        parts = name.split(".")
        module, depth = gpukm, 1
        while depth < len(parts) and importlib.util.find_spec(".".join(parts[: depth + 1])) is not None:
            module = importlib.import_module(".".join(parts[: depth + 1]))
            depth += 1
            if not hasattr(module, "__path__"):
                break
        found = gpukm if depth == 1 else module
        for attribute in parts[depth:]:
            assert hasattr(found, attribute), f"{path.name} cites {name}"
            found = getattr(found, attribute)


@pytest.mark.parametrize("path", texts(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_path_of_one_machine(path):
    """Nothing points into somebody's home or workplace."""
    homes = "|".join(["root", "home", "work", "Users", "mnt", "private"])
    assert not re.findall(rf"(?<![\w.*)\]}}])/(?:{homes})/\w+|\b[A-Z]:\\\w+", path.read_text())


def test_the_readme_has_the_two_commands():
    """.ci/run takes the test command from README.md: one fenced block after each marker, and no copy."""
    readme = (ROOT / "README.md").read_text()
    for marker in ("run", "test"):
        assert len(re.findall(rf"^<!-- command: {marker} -->\s*\n```\w*\n(?:(?!```).*\n)+```$", readme, re.M)) == 1
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK) and "pip install" not in script.read_text()
