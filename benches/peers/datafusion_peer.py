"""Runs queries from standard input, one JSON line each, on the DataFusion Python package with two partitions."""

import json
import os
import sys
import time

from datafusion import SessionConfig, SessionContext


def main() -> None:
    folder = sys.argv[1]
    context = SessionContext(SessionConfig().with_target_partitions(2))
    for name in sorted(os.listdir(folder)):
        if not name.startswith(("_", ".")):
            context.register_parquet(name, os.path.join(folder, name))
    for line in sys.stdin:
        start = time.perf_counter()
        rows = sum(batch.num_rows for batch in context.sql(json.loads(line)["sql"]).collect())
        print(json.dumps({"wall_ms": (time.perf_counter() - start) * 1e3, "rows": rows}), flush=True)


if __name__ == "__main__":
    main()
