"""Ten million rows, made and added up on all workers, with ordinary pandas compiled to MPI.

Launch mode: SPMD. This file runs on every worker at once, under ``mpiexec``; Bodo gives each its share of the rows.
The number of rows can be given as an argument.
"""

import sys

import bodo
import numpy as np
import pandas as pd

rows = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000


@bodo.jit(distributed=["groups"], cache=True)
def make_and_add_up(rows):
    """The numbers from 0 to ``rows`` - 1 in ten groups by their last digit.

    Each worker gets its share of the groups; the two sums go through all workers, and each gets the same answer.
    """
    numbers = pd.DataFrame({"digit": np.arange(rows) % 10, "number": np.arange(rows)})
    groups = numbers.groupby("digit", as_index=False).agg(
        rows=pd.NamedAgg("number", "count"), total=pd.NamedAgg("number", "sum")
    )
    return groups, groups["rows"].sum(), groups["total"].sum()


if bodo.get_rank() == 0:
    print(f"{bodo.get_size()} workers, {rows:,} rows", flush=True)

groups, count, total = make_and_add_up(rows)
print(f"worker {bodo.get_rank()} holds the digits {sorted(groups['digit'])}", flush=True)
bodo.barrier()

if bodo.get_rank() == 0:
    print(f"rows {count}\nsum {total}", flush=True)
