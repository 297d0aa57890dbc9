"""Which airline leaves New York late? All 336,776 flights of 2013 (flights.csv), joined with airlines.csv.

Launch mode: spawn. This file runs once; what is asked of a ``bodo.pandas`` frame runs on all workers of the cluster.
Files are named as they stand in the workspace, which is the working directory of every job.
"""

import bodo
import bodo.pandas as pd
from pyarrow import csv, parquet

# Text has to be read from its beginning to its end. Parquet is read by all workers at once, and only the columns that
# are needed, so it pays to convert what will be used more than once. Row groups are what the workers share out.
as_missing = csv.ConvertOptions(null_values=["", "NA"], strings_can_be_null=True)
parquet.write_table(csv.read_csv("flights.csv", convert_options=as_missing), "flights.parquet", row_group_size=20_000)


@bodo.jit(spawn=True)
def number_of_workers():
    """Runs on every worker, as everything compiled with ``spawn=True`` does."""
    return bodo.get_size()


print(f"{number_of_workers()} workers", flush=True)

flights = pd.read_parquet("flights.parquet")
print(f"{len(flights):,} flights", flush=True)

# Nothing is computed here yet: Bodo plans the whole query, and runs it when the result is wanted.
delays = flights.groupby("carrier", as_index=False).agg(
    flights=pd.NamedAgg("flight", "count"), mean_delay=pd.NamedAgg("dep_delay", "mean")
)
airlines = pd.from_pandas(csv.read_csv("airlines.csv").to_pandas())
report = delays.merge(airlines, on="carrier").sort_values("mean_delay", ascending=False)

print(report[["carrier", "flights", "mean_delay", "name"]].to_string(index=False))
