"""The error for a NaN or an infinity among the samples: where it is, and what to do."""


class NonFiniteError(ValueError):
    """The first value that is not finite.

    Attributes
    ----------
    row, column : from 0; column is None where samples are plain numbers
    value : NaN or an infinity
    """

    row: int
    column: int | None
    value: float


def nonfinite(name: str, row: int, column: int | None, value: float) -> NonFiniteError:
    """The error for the array called `name`, to be raised."""
    what = "NaN" if value != value else f"infinity ({value})"
    if column is None:
        text = (
            f"The first is at position {row}, counted from 0. Only finite numbers can be clustered: leave such ones "
            f"out, {name}[numpy.isfinite({name})], and their weights, if there are any."
        )
    else:
        text = (
            f"The first is at row {row}, column {column}, both counted from 0. k-means takes finite numbers only: "
            f"leave such rows out, {name}[numpy.isfinite({name}).all(axis=1)], or fill them in, as sklearn.impute does."
        )
    error = NonFiniteError(f"Input {name} contains {what}.\n{text}")
    error.row, error.column, error.value = row, column, value  # not by the constructor: so it pickles
    return error
