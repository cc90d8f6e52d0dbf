#!/usr/bin/env python3
"""Writes tables of Delta Lake as the package deltalake does, below the folder that is given, for delta.rs."""

import sys
from datetime import date, datetime, timedelta, timezone

from arro3.core import Array, DataType, Table
from deltalake import CommitProperties, DeltaTable, write_deltalake

root = sys.argv[1]

DAY = 19_782  # 2024-02-29, in days since 1970


def rows(first, keys):
    """One row for each of `keys`; some values are NULL."""
    numbers = list(range(first, first + len(keys)))
    maybe = lambda value, number: None if number % 3 == 0 else value
    micros = Array([1_709_200_000_123_456 + n for n in numbers], DataType.int64())
    return Table.from_pydict({
        "Id": Array(numbers, DataType.int64()),
        "key": Array(keys, DataType.string()),
        "Name": Array([maybe(f"n{n}é", n) for n in numbers], DataType.string()),
        "price": Array([float(n) + 0.25 for n in numbers], DataType.float64()).cast(DataType.decimal128(12, 2)),
        "day": Array([maybe(DAY + n, n) for n in numbers], DataType.int32()).cast(DataType.date32()),
        "moment": micros.cast(DataType.timestamp("us", tz="UTC")),
        "local": micros.cast(DataType.timestamp("us")),
        "ok": Array([maybe(n % 2 == 0, n) for n in numbers], DataType.bool()),
    })


KEYS = ["a b", "x/y=z", "50%", "é", None, "q'\"{}"]

# Versions 0 to 5: two appends, rows deleted, a new column, a checkpoint, an append.
place = f"{root}/people"
write_deltalake(place, rows(0, KEYS), partition_by=["key"])
write_deltalake(place, rows(10, KEYS), mode="append")
table = DeltaTable(place)
table.delete("\"Id\" >= 12 AND \"Id\" <= 13")
more = rows(20, ["a b"])
more = more.append_column("extra", Array(["new"], DataType.string()))
write_deltalake(place, more, mode="append", schema_mode="merge")
table = DeltaTable(place)
table.create_checkpoint()
write_deltalake(place, rows(30, ["é", "é"]), mode="append", schema_mode="merge")

# Files that statistics tell apart, made into one, and the old ones removed.
place = f"{root}/compacted"
for first in range(0, 50, 10):
    write_deltalake(place, rows(first, ["k"] * 10), mode="append")
table = DeltaTable(place)
table.optimize.compact()
table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
write_deltalake(place, rows(50, ["k"] * 10), mode="append")
