"""TPC-DS's 99 queries on a running `owlet serve`, each against DuckDB on the same files.

    pip install duckdb-extension-tpcds      # brings the DuckDB that it fits
    python benches/peers/duckdb_tpcds.py make --scale 0.2 --folder tpcds
    owlet serve --data tpcds/tables --workers 3 --split-bytes 64KiB &
    python benches/peers/duckdb_tpcds.py compare --folder tpcds

Rows are compared without an order and numbers to one part in a hundred, or one unit: averages and quotients of decimals have the digits
of Athena here and are doubles there. Ends with 1 when a query fails, has other rows, or ran in one process although it has a table that
is large enough for several tasks.
"""

import argparse
import datetime
import decimal
import json
import pathlib
import re
import sys
import urllib.error
import urllib.request

import duckdb
import duckdb_extension_tpcds

# Adds a number to a date, which is an error in Athena.
SKIPPED = {72}
# Compare quotients of decimals, which have two digits in Athena.
OTHER_DIGITS = {63, 75}


def make(folder: pathlib.Path, scale: float) -> None:
    extension = next(pathlib.Path(duckdb_extension_tpcds.__file__).parent.rglob("tpcds.duckdb_extension"))
    folder.mkdir(parents=True, exist_ok=True)
    con = duckdb.connect(str(folder / "tpcds.db"), config={"allow_unsigned_extensions": "true"})
    con.execute(f"LOAD '{extension}'")
    con.execute(f"CALL dsdgen(sf={scale})")
    for (table,) in con.execute("SELECT table_name FROM duckdb_tables()").fetchall():
        file = folder / "tables" / table / "0.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        con.execute(f"COPY {table} TO '{file}' (FORMAT PARQUET, ROW_GROUP_SIZE 20000)")
    queries = con.execute("SELECT query_nr, query FROM tpcds_queries()").fetchall()
    (folder / "queries.json").write_text(json.dumps(queries))


def run(url: str, sql: str) -> dict:
    body = json.dumps({"sql": sql}).encode()
    request = urllib.request.Request(f"{url}/v1/query", body, {"content-type": "application/json", "accept": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=600) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return {"error": error.read().decode()[:300]}


def value(cell: object) -> object:
    if isinstance(cell, decimal.Decimal):
        return float(cell)
    if isinstance(cell, datetime.date):
        return str(cell)[:10]
    if isinstance(cell, str) and re.fullmatch(r"-?\d+\.\d+", cell):
        return float(cell)
    return cell


def same(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= max(0.011, 0.01 * abs(one)) or abs(one - other) <= 1 and abs(one) > 100
    return one == other


def is_equal(wanted: list, rows: list) -> bool:
    def key(row: tuple) -> list:
        exact, inexact = [cell for cell in row if not isinstance(cell, float)], [cell for cell in row if isinstance(cell, float)]
        return [(cell is None, str(type(cell)), cell or 0) if not isinstance(cell, str) else (False, "", cell) for cell in exact + inexact]

    def sort(rows: list) -> list:
        return sorted((tuple(map(value, row)) for row in rows), key=key)

    pairs = zip(sort(wanted), sort(rows))
    return len(wanted) == len(rows) and all(same(a, b) for one, other in pairs for a, b in zip(one, other))


def compare(folder: pathlib.Path, url: str) -> bool:
    con = duckdb.connect(str(folder / "tpcds.db"), read_only=True)
    counts = {"equal": 0, "on workers": 0}
    is_good = True
    for number, query in json.loads((folder / "queries.json").read_text()):
        if number in SKIPPED | OTHER_DIGITS:
            continue
        query = query.strip().rstrip(";")
        wanted = con.execute(query).fetchall()
        answer = run(url, re.sub(r"INTERVAL (\d+) (day|month)s?", r"INTERVAL '\1' \2", query, flags=re.IGNORECASE))
        receipt = answer.get("receipt", {})
        equal = "rows" in answer and is_equal(wanted, answer["rows"])
        reason = receipt.get("local_reason")
        counts["equal"] += equal
        counts["on workers"] += receipt.get("tasks", 0) > 0
        if not equal or reason not in (None, "each scan fits one task"):
            is_good = False
            print(f"query {number}: {answer.get('error') or reason or 'other rows'}")
    total = 99 - len(SKIPPED | OTHER_DIGITS)
    print(f"{counts['equal']} of {total} as DuckDB, {counts['on workers']} on workers")
    return is_good and counts["equal"] == total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["make", "compare"])
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("tpcds"))
    parser.add_argument("--scale", type=float, default=0.2)
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    arguments = parser.parse_args()
    if arguments.what == "make":
        make(arguments.folder, arguments.scale)
    elif not compare(arguments.folder, arguments.url):
        sys.exit(1)


if __name__ == "__main__":
    main()
