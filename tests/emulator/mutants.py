"""Mistakes planted in the kernels, one at a time, and who finds them: does the harness see what it is there to see?

python -m emulator.mutants MODE NUMBER ...      with MODE "plain", "address" or "thread", in `build.environment(MODE)`
"""

import json
import os
import re
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

SECONDS = 100  # for the tests of one mutant


@dataclass(frozen=True)
class Mutant:
    """`old` becomes `new` in a kernel file, at one occurrence; `tests` are those that should fail then."""

    what: str
    file: str
    old: str
    new: str
    tests: str
    occurrence: int = 1


NEAREST = "test_emulator.py::test_tiles_and_shuffles_give_the_nearest_centroid"
SUMS = "test_emulator.py::test_sums_by_label_are_those_of_numpy"
VAST = "test_emulator.py::test_the_last_block_of_more_than_two_to_the_31_elements"
COPIES = "test_intrinsics.py::test_copies_go_on_while_a_tile_is_used"
SHARED = "test_intrinsics.py::test_shared_memory_is_fresh_for_every_block"
ATOMICS = "test_intrinsics.py::test_atomics_lose_nothing"
VECTORS = "test_intrinsics.py::test_vectors_are_read_and_written_whole"
PARTED = "test_intrinsics.py::test_parts_of_a_warp_go_different_ways_and_meet_again"
PRODUCTS = "test_intrinsics.py::test_products_of_small_whole_numbers_are_exact"
DOUBLES = "test_intrinsics.py::test_float64_operations_round_once_and_are_not_contracted"
VALUES = "test_intrinsics.py::test_conversions_are_exact_or_rounded_once_subnormal_numbers_included"

ONE = "test_device_kernels.py::test_all_kernels_agree_with_the_reference[one kernel]"
BOXES = "test_device_kernels.py::test_all_kernels_agree_with_the_reference[one kernel, boxes]"
TENSOR = "test_device_kernels.py::test_all_kernels_agree_with_the_reference[tensor cores]"
CORES = "test_device_kernels.py::test_all_kernels_agree_with_the_reference[float32 cores]"
CELLS = "test_device_kernels.py::test_rows_along_a_line_are_put_in_its_order"
SEEDS = "test_device_seeding.py::test_the_host_waits_no_more_often_for_many_centres"
COLOURS = "test_device_colors.py::test_counts_are_those_of_the_host[emulator-19-27-areas]"
FEW = "test_device_seeding.py::test_few_distinct_rows_and_ties_give_the_reference_s_seeds"
TIES = "test_device_seeding.py::test_candidates_that_all_but_tie_are_the_host_s"
CLOSE = "test_device_seeding.py::test_rounds_that_are_too_close_to_call_are_the_host_s[3]"

MUTANTS = [
    Mutant("barrier after loading removed", "nearest", "__syncthreads();", ";", NEAREST, 1),
    Mutant("barrier before loading again removed", "nearest", "__syncthreads();", ";", NEAREST, 2),
    Mutant("barrier of the warp only", "nearest", "__syncthreads();", "__syncwarp();", NEAREST, 1),
    Mutant("barrier for some", "nearest", "__syncthreads();", "if (threadIdx.x < 32) __syncthreads();", NEAREST, 2),
    Mutant("rows: one too many loaded", "nearest", "row0 + r < n", "row0 + r <= n", NEAREST),
    Mutant("columns: one too many loaded", "nearest", "col0 + r < k", "col0 + r <= k", NEAREST),
    Mutant("columns: one too many scored", "nearest", "if (col < k)", "if (col <= k)", NEAREST),
    Mutant("rows: one too many written", "nearest", "tx == 0 && row < n", "tx == 0 && row <= n", NEAREST),
    Mutant("features: no limit", "nearest", " && q0 + q < d", "", NEAREST),
    Mutant(
        "features: the last strip left out", "nearest", "q0 < d; q0 += STRIP", "q0 + STRIP < d; q0 += STRIP", NEAREST
    ),
    Mutant("features: one too many of a strip", "nearest", "q < STRIP; ++q", "q <= STRIP; ++q", NEAREST),
    Mutant("tile: outside its row", "nearest", "xs[q][ty * 2 + i]", "xs[q][ty * 2 + i + 8]", NEAREST),
    Mutant("tile: rows 16 apart", "nearest", "cs[q][tx + 8 * j]", "cs[q][tx + 16 * j]", NEAREST),
    Mutant("reduction: first exchange left out", "nearest", "step = 4;", "step = 2;", NEAREST),
    Mutant(
        "reduction: half of a warp is asked",
        "nearest",
        "__shfl_down_sync(~0u, best[i].label",
        "__shfl_down_sync(0xffff, best[i].label",
        NEAREST,
    ),
    Mutant("tie: the higher label", "nearest", "b.label < a.label", "b.label > a.label", NEAREST),
    Mutant("offset in 32 bits", "nearest", "x[(row0 + r) * d + q0 + q]", "x[int(row0 + r) * d + q0 + q]", VAST),
    Mutant(
        "row in 32 bits wraps",
        "nearest",
        "static_cast<long long>(blockIdx.x) * TILE",
        "static_cast<short>(blockIdx.x) * TILE",
        VAST,
    ),
    Mutant(
        "sums: plain addition in shared memory",
        "nearest",
        "atomicAdd(&kept[label[row] * d + q], x[static_cast<size_t>(row) * d + q])",
        "kept[label[row] * d + q] += x[static_cast<size_t>(row) * d + q]",
        SUMS,
    ),
    Mutant(
        "sums: plain addition in global memory",
        "nearest",
        "atomicAdd(&counts[t], counted[t])",
        "counts[t] += counted[t]",
        SUMS,
    ),
    Mutant("sums: not zeroed", "nearest", "kept[t] = 0;", ";", SUMS),
    Mutant("sums: counts not zeroed", "nearest", "t < k * d + k; t", "t < k * d; t", SUMS),
    Mutant("sums: barrier after zeroing removed", "nearest", "__syncthreads();", ";", SUMS, 3),
    Mutant("sums: barrier before the last part removed", "nearest", "__syncthreads();", ";", SUMS, 4),
    Mutant("sums: last row left out", "nearest", "min(n, first + rows)", "min(n - 1, first + rows)", SUMS),
    Mutant("sums: rows without limit", "nearest", "min(n, first + rows)", "first + rows", SUMS),
    Mutant("sums: sign lost", "nearest", "static_cast<long long>(kept[t])", "static_cast<unsigned>(kept[t])", SUMS),
    Mutant("copies: waits for the wrong group", "memory", "copy_async_wait<1>()", "copy_async_wait<2>()", COPIES),
    Mutant("copies: last wait missing", "memory", "else copy_async_wait<0>();", "", COPIES),
    Mutant("copies: barrier after the wait removed", "memory", "__syncthreads();", ";", COPIES, 4),
    Mutant("copies: barrier before the next removed", "memory", "__syncthreads();", ";", COPIES, 5),
    Mutant("copies: one buffer", "memory", "copy_async<16>(&tiles[tile % 2]", "copy_async<16>(&tiles[0]", COPIES),
    Mutant("copies: misaligned", "memory", "* 64 + q], row < n", "* 64 + q + 1], row < n", COPIES),
    Mutant(
        "shared: another thread's place",
        "memory",
        "kept[blockDim.x - 1 - threadIdx.x] = value",
        "kept[threadIdx.x] = value",
        SHARED,
    ),
    Mutant("shared: barrier removed", "memory", "__syncthreads();", ";", SHARED, 1),
    Mutant(
        "atomics: a maximum by comparing first",
        "memory",
        "atomicMax(&i32[2], v)",
        "if (v > i32[2]) i32[2] = v",
        ATOMICS,
    ),
    Mutant(
        "atomics: the queue's place read before",
        "memory",
        "u32[4 + atomicAdd(&i32[3], 1)] =",
        "u32[4 + i32[3]++] =",
        ATOMICS,
    ),
    Mutant(
        "vectors: misaligned",
        "memory",
        "reinterpret_cast<const float4*>(x)[i]",
        "reinterpret_cast<const float4*>(x + 1)[i]",
        VECTORS,
    ),
    Mutant("lanes: a mask that leaves itself out", "warps", "0x000000ffu", "0x0000007fu", PARTED),
    Mutant(
        "tensor: fragment of A swapped",
        "tensor",
        "A[(g + 8) * 8 + t], A[g * 8 + t + 4]",
        "A[g * 8 + t + 4], A[(g + 8) * 8 + t]",
        PRODUCTS,
    ),
    Mutant(
        "tensor: B transposed", "tensor", "B[g * 8 + t], B[g * 8 + t + 4]", "B[t * 8 + g], B[g * 8 + t + 4]", PRODUCTS
    ),
    Mutant(
        "tensor: column of the result", "tensor", "* 8 + t * 2 + i % 2] = d[i]", "* 8 + t + i % 2 * 4] = d[i]", PRODUCTS
    ),
    Mutant(
        "tensor: matrices in another order",
        "tensor",
        "lane % 16][lane / 16 * 8",
        "lane / 16 * 8 + lane % 8][lane / 8 % 2 * 8",
        PRODUCTS,
    ),
    Mutant("tensor: warp barrier removed", "tensor", "__syncwarp();", ";", PRODUCTS),
    Mutant(
        "arithmetic: a fused product",
        "arithmetic",
        "x * y + z, x / y,\n                              sqrt",
        "__fma_rn(x, y, z), x / y,\n                              sqrt",
        DOUBLES,
    ),
    Mutant(
        "arithmetic: half by cutting",
        "arithmetic",
        "halves[i] = half_bits(x[i])",
        "halves[i] = half_bits(__uint_as_float(__float_as_uint(x[i]) & ~0x1fffu))",
        VALUES,
    ),
    # the library's own kernels
    Mutant("step: rows beyond the last labelled", "lloyd_step", "if (row >= n) continue;", ";", ONE),
    Mutant(
        "step: the runner-up forgotten",
        "lloyd_step",
        "second[r] = fminf(second[r], fmaxf(best[r], least[r]));",
        ";",
        ONE,
    ),
    Mutant(
        "step: sums flushed before all are done",
        "exact",
        "    __syncthreads();\n    for (long long i",
        "    for (long long i",
        ONE,
    ),
    Mutant(
        "step: taken from the wrong column",
        "lloyd_step",
        "-1 : from + j",
        "-1 : from + (j ^ 1)",
        ONE,
    ),
    Mutant(
        "boxes: a centroid too many dropped", "lloyd_step", "- reach * 1.001f > limit", "- reach * 0.5f > limit", BOXES
    ),
    Mutant(
        "boxes: the list not complete when read",
        "lloyd_step",
        "    __syncthreads();\n    const int found",
        "    const int found",
        BOXES,
    ),
    Mutant("tensor: no barrier between a buffer's users", "assign_mma", "        __syncthreads();\n", "", TENSOR),
    Mutant("tensor: the second tile's number lost", "assign_mma", "? column0 + number", "? number", TENSOR),
    Mutant("tensor: one row of lanes not asked", "assign_mma", "step < 4; step *= 2", "step < 2; step *= 2", TENSOR),
    Mutant(
        "arrange: a value beyond the last cell", "arrange", "at < most ? at : most", "at <= most ? at : most + 1", CELLS
    ),
    Mutant(
        "segments: a place given twice",
        "segments",
        "atomicAdd(cursors + labels[first + i], 1)] = (int)i",
        "cursors[labels[first + i]]++] = (int)i",
        TENSOR,
    ),
    Mutant(
        "segments: a scan that does not wait",
        "segments",
        "        __syncthreads();\n        const int lower",
        "        const int lower",
        TENSOR,
    ),
    Mutant("segments: sums kept from cluster to cluster", "segments", "if (to != cell) hand_in();", ";", TENSOR),
    Mutant(
        "segments: the last row of each left out",
        "segments",
        "i < end; ++i) {\n            const",
        "i < end - 1; ++i) {\n            const",
        TENSOR,
    ),
    Mutant("cores: a slab overwritten in use", "assign", "            __syncthreads();\n", "", CORES, 1),
    Mutant("cores: features beyond the last", "assign", "row0 + r < m && j < d;", "row0 + r < m;", CORES),
    Mutant(
        "lists: places handed out twice",
        "exact",
        "place[i] = atomicAdd(&sizes[1], 1);",
        "place[i] = sizes[1]++;",
        CORES,
    ),
    Mutant("settle: ties go to the last", "exact", "other < label", "other > label", ONE),
    Mutant(
        "update: a carry lost",
        "update",
        "value = limbs[l * cells + cell] + carry",
        "value = limbs[l * cells + cell]",
        CORES,
    ),
    Mutant(
        "inertia: a slab read before it is whole",
        "inertia",
        "        __syncthreads();\n        if (row0",
        "        if (row0",
        CORES,
    ),
    Mutant(
        "seeding: a bucket's sum by plain addition",
        "plusplus",
        "atomicAdd(&near[bucket], (unsigned long long)term.high);",
        "near[bucket] += (unsigned long long)term.high;",
        ONE,
    ),
    Mutant("draws: warps do not see those before", "plusplus", "add(own, warps[w]);", ";", SEEDS),
    Mutant(
        "draws: a range read before it is written",
        "plusplus",
        "        __syncthreads();\n        const long long first",
        "        const long long first",
        SEEDS,
    ),
    Mutant("draws: an open one taken for certain", "plusplus", "atomicOr(flags + OPEN, 1);", ";", CLOSE, 2),
    Mutant("candidates: rows beyond the last weighed", "plusplus", "(there && u < count", "(u < count", SEEDS),
    Mutant("candidates: gains of the round before", "plusplus", "gains[i] = 0;", ";", SEEDS),
    Mutant(
        "candidates: the last of equals",
        "plusplus",
        "if (less(widened({gains[leader], gains[t + leader]}, bits), widened({gains[u], gains[t + u]}, bits)))",
        "if (!less(widened({gains[u], gains[t + u]}, bits), widened({gains[leader], gains[t + leader]}, bits)))",
        FEW,
    ),
    Mutant("candidates: an open choice made", "plusplus", "atomicOr(&is_open, 1);", ";", TIES),
    Mutant(
        "columns: an extreme by plain comparison",
        "columns",
        "atomicMax(&highs[lane], (long long)greatest);",
        "if (highs[lane] < greatest) highs[lane] = greatest;",
        ONE,
    ),
    Mutant("colours: each lane adds for its warp", "colors", "&& __ffs((int)same) - 1 == thread % 32", "", COLOURS),
    Mutant(
        "colours: counts by plain addition",
        "colors",
        "atomicAdd(table + color, (unsigned)__popc(same));",
        "table[color] += (unsigned)__popc(same);",
        COLOURS,
    ),
    Mutant("colours: a pixel beyond the last counted", "colors", "if (i < n && __ffs", "if (i <= n && __ffs", COLOURS),
    Mutant("step: barrier after packing removed", "lloyd_step", "    __syncthreads();\n\n    Sums", "    Sums", ONE),
    Mutant("assign: last centroid left out", "assign", "c < k ? operand", "c < k - 1 ? operand", CORES),
    Mutant(
        "assign_mma: fragments in another order",
        "assign_mma",
        "even[2] = {c[0], c[1]}, odd[2] = {c[2], c[3]}",
        "even[2] = {c[0], c[2]}, odd[2] = {c[1], c[3]}",
        TENSOR,
    ),
    Mutant(
        "potential: D set where it should be lowered",
        "potential",
        "if (!initial && D[row] < own) own = D[row];",
        "",
        ONE,
    ),
]


def run(mutant: Mutant | None, tests: str) -> dict:
    """Run tests with a mutant planted, in a process of its own."""
    with tempfile.TemporaryFile() as output:
        begin = time.monotonic()
        child = os.fork()
        if child == 0:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            os._exit(_test(mutant, tests))
        status = _wait(child, begin + SECONDS)
        output.seek(0)
        text = output.read().decode(errors="replace")
    return {"rc": status, "seconds": round(time.monotonic() - begin, 2), "why": reason(text) or text[-300:]}


def _test(mutant: Mutant | None, tests: str) -> int:
    import pytest

    import emulator

    if mutant is not None:
        emulator.mutation = (mutant.file, mutant.old, mutant.new, mutant.occurrence)
    chosen = str(Path(__file__).parents[1] / tests)
    return int(pytest.main(["-x", "-q", "-s", "-p", "no:cacheprovider", "-k", "not cuda", "--tb=short", chosen]))


def _wait(child: int, end: float) -> int | str:
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "time"


def reason(text: str) -> str | None:
    """What the tests, the emulator or a sanitizer have to say, in a line."""
    found = re.search(
        r"SUMMARY: \w+Sanitizer: ([a-z -]+)|runtime error: ([^\n]{0,60})|EmulationError: ([^\n;]*)"
        r"|(g\+\+ refuses[^\n]*)|^E +(Mismatched elements[^\n]*)|^E +(\w*Error[^\n]{0,60})|^(\d+ passed)",
        text,
        re.M,
    )
    return next(filter(None, found.groups())) if found else None


def main(mode: str, numbers: list[str]) -> int:
    """Print a line of JSON for each of the tests with the kernels as they are, then one for each mutant."""
    import numpy  # noqa: F401  what the children then need not load each for itself
    import pytest  # noqa: F401

    import emulator  # noqa: F401

    chosen = [MUTANTS[int(number)] for number in numbers]
    for tests in sorted({mutant.tests for mutant in chosen}):
        print(json.dumps({"mode": mode, "what": f"no mistake: {tests}", **run(None, tests)}), flush=True)
    for number, mutant in zip(numbers, chosen):
        result = run(mutant, mutant.tests)
        print(json.dumps({"mode": mode, "number": int(number), "what": mutant.what, **result}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
