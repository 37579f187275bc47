"""Several engines give the same labels for one policy, on rows and conditions chosen to make them disagree.

DuckDB and Polars always run. PySpark runs where it and Java are installed, Postgres where the environment names a
server (``PGHOST``). ``docs/other-engines.md`` says what is known of the engines that cannot be run here.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest

import label_policy
from label_policy import (
    INTERACTION_COLUMNS,
    Policy,
    PolicyError,
    ValueType,
    compile_policy,
    compile_sent_texts,
    label_with_polars,
    load_policy,
    sent_texts_with_polars,
    shipped_policies,
)
from label_policy.conditions.grammar import SHAPES
from tests.label_policy.generated import interactions, policy

ROWS = 100_000
DERIVED = ["rule", "label", "tier", "weight", "matures_at"]
SEEDS = range(4)
SOME = 10_000
Labels = list[pl.DataFrame]
"""The labels of a policy's drafts and, with a sent_text section, of the texts sent instead."""


@pytest.fixture(scope="module")
def table():
    return interactions(ROWS, seed=11)


@pytest.fixture(scope="module")
def labels(table) -> Callable[[Policy, int], Labels]:
    """Label the first rows by Polars."""
    frame = pl.from_arrow(table)

    def run(policy: Policy, rows: int = ROWS) -> Labels:
        return by_polars(policy, frame.head(rows))

    return run


def by_polars(policy: Policy, frame: pl.DataFrame) -> Labels:
    label = [label_with_polars] + [sent_texts_with_polars] * (policy.sent_text is not None)
    return [ordered(one(frame, policy)) for one in label]


def by_sql(policy: Policy, dialect: str, query: Callable[[str], pl.DataFrame]) -> Labels:
    compile_one = [compile_policy] + [compile_sent_texts] * (policy.sent_text is not None)
    return [ordered(query(one(policy, dialect=dialect))) for one in compile_one]


def ordered(frame: pl.DataFrame) -> pl.DataFrame:
    moments = pl.col("matures_at").dt.convert_time_zone("UTC")
    return frame.select("draft_id", *DERIVED).with_columns(moments).sort("draft_id")


def assert_same(results: Labels, expected: Labels, policy: Policy) -> None:
    """Compare labels, and name the conditions that differ."""
    for one, other in zip(results, expected, strict=True):
        assert one.schema == other.schema and one["draft_id"].equals(other["draft_id"])
        both = one.join(other, on="draft_id", suffix="_expected")
        differ = pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"{name}_expected")) for name in DERIVED)
        wrong = both.filter(differ)
        conditions = {rule.id: rule.when for rule in policy.rules}
        rules = {*wrong["rule"], *wrong["rule_expected"]}
        assert wrong.is_empty(), (wrong.head(3).to_dicts(), [conditions.get(rule) for rule in rules])


@pytest.mark.parametrize("name", shipped_policies())
def test_duckdb_and_polars_agree_on_the_shipped_policies(name, table, labels):
    shipped = load_policy(shipped_policies()[name])
    assert_same(by_sql(shipped, "duckdb", in_duckdb(table)), labels(shipped), shipped)


@pytest.mark.parametrize("seed", SEEDS)
def test_duckdb_and_polars_agree_on_any_condition(seed, table, labels):
    generated = policy(seed)
    results = by_sql(generated, "duckdb", in_duckdb(table.slice(0, SOME)))
    assert_same(results, labels(generated, SOME), generated)
    assert results[0]["rule"].n_unique() > 50, "few of the conditions hold anywhere, so they say little"


def in_duckdb(table) -> Callable[[str], pl.DataFrame]:
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'Europe/Berlin'")
    connection.register("interactions", table)
    return lambda query: pl.from_arrow(
        connection.sql(f"SELECT draft_id, {', '.join(DERIVED)} FROM ({query})").to_arrow_table()
    )


def test_the_generated_conditions_are_of_every_shape():
    trees = [rule.condition.tree for seed in SEEDS for rule in policy(seed).rules]
    assert {type(node) for tree in trees for node in tree.walk()} >= SHAPES.keys()
    columns = {column for seed in SEEDS for rule in policy(seed).rules for column in rule.condition.columns}
    assert columns >= INTERACTION_COLUMNS.keys()


JSON_TEXTS = [
    ('{"k": "v"}', "v"),
    ('{"k": ""}', ""),
    ('{"k": true}', "true"),
    ('{"k": 12}', "12"),
    ('{"k": -0}', "0"),
    ('{"k": 123456789012345}', "123456789012345"),
    ('{"k": 1234567890123456}', None),
    ('{"k": 1.0}', None),
    ('{"k": 4.5}', None),
    ('{"k": 1e2}', None),
    ('{"k": null}', None),
    ('{"k": ["v"]}', None),
    ('{"k": {"k": "v"}}', None),
    ('{"K": "v"}', None),
    ('["k"]', None),
    ('{"k": "v", "k": "w"}', "v"),
    ('{"k": "v", "n": NaN}', "v"),
    (r'{"k": "\ud83d\ude00"}', "😀"),
    (r'{"k": "\ud83d"}', None),
    (r'{"k": "v", "n": "\ud83d"}', None),
    ('{"k": "v"} {"k": "w"}', None),
    ('{"k": "v"', None),
    ("k", None),
    ("", None),
    (None, None),
]


def test_what_is_read_from_json(table):
    texts, values = zip(*JSON_TEXTS, strict=True)
    rows = table.slice(0, len(texts)).set_column(table.column_names.index("extra"), "extra", [texts])
    for index, value in enumerate(values):
        holds = "IS NULL" if value is None else f"= '{value}'"
        rules = [{"id": "r", "when": f"json_extract_string(extra, '$.k') {holds}", "label": "abstain", "why": "x"}]
        policy_of_texts = Policy(name="p", version=1, description="x", owner="x", rules=rules)
        results = [by_polars(policy_of_texts, pl.from_arrow(rows)), by_sql(policy_of_texts, "duckdb", in_duckdb(rows))]
        ours = pl.col("draft_id") == f"d{index}"
        assert [labels[0].filter(ours)["rule"][0] for labels in results] == ["r", "r"], texts[index]


def test_lazy_frames_stay_lazy(table):
    frame = pl.from_arrow(table.slice(0, 50))
    shipped = load_policy(shipped_policies()["star.v1"])
    lazy = label_with_polars(frame.lazy(), shipped)
    assert isinstance(lazy, pl.LazyFrame)
    assert lazy.collect().equals(label_with_polars(frame, shipped))
    assert lazy.collect_schema().names() == [*INTERACTION_COLUMNS, *DERIVED]
    assert label_with_polars(frame.clear(), shipped).height == 0


def test_polars_is_loaded_where_it_is_used_and_not_before():
    script = (
        "import sys, label_policy; assert 'polars' not in sys.modules;"
        "from label_policy import label_with_polars, sent_texts_with_polars; assert 'polars' in sys.modules;"
        "assert all(getattr(label_policy, name) is not None for name in label_policy.__all__)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    with pytest.raises(AttributeError, match="no attribute 'label_with_pandas'"):
        label_policy.label_with_pandas  # noqa: B018


def test_polars_needs_a_section_for_sent_texts(table):
    with pytest.raises(PolicyError, match=r"star\.v1 has no sent_text section"):
        sent_texts_with_polars(pl.from_arrow(table), load_policy(shipped_policies()["star.v1"]))


@pytest.fixture(scope="module")
def spark(table, tmp_path_factory):
    """A session far from UTC, over the same rows in Parquet."""
    sql = pytest.importorskip("pyspark.sql", reason="PySpark is not installed (the extra 'spark')")
    if not (shutil.which("java") or os.environ.get("JAVA_HOME")):
        pytest.skip("PySpark needs Java 17 or later, which is not installed")
    folder = tmp_path_factory.mktemp("spark")
    settings = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "America/New_York",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
    }
    session = sql.SparkSession.builder.master("local[2]").config(map=settings).getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    pq.write_table(table, folder / "interactions.parquet")
    session.read.parquet(str(folder / "interactions.parquet")).createOrReplaceTempView("interactions")
    yield session
    session.stop()


def in_spark(session, rows: int) -> Callable[[str], pl.DataFrame]:
    numbered = "cast(substring(draft_id, 2) AS int)"
    return lambda query: pl.from_arrow(
        session.sql(query).where(f"{numbered} < {rows}").select("draft_id", *DERIVED).toArrow()
    )


@pytest.mark.parametrize("name", shipped_policies())
def test_spark_agrees_on_the_shipped_policies(name, spark, labels):
    shipped = load_policy(shipped_policies()[name])
    assert_same(by_sql(shipped, "spark", in_spark(spark, ROWS)), labels(shipped), shipped)


@pytest.mark.parametrize("seed, ansi", [(0, "true"), (1, "false")])
def test_spark_agrees_on_any_condition(seed, ansi, spark, labels):
    generated = policy(seed)
    spark.conf.set("spark.sql.ansi.enabled", ansi)
    assert_same(by_sql(generated, "spark", in_spark(spark, SOME)), labels(generated, SOME), generated)


POSTGRES_TYPES = {
    ValueType.TEXT: "text",
    ValueType.NUMBER: "double precision",
    ValueType.TIME: "timestamptz",
    ValueType.TEXTS: "text[]",
}


@pytest.fixture(scope="module")
def postgres():
    """A connection far from UTC with rows of the documented column values."""
    psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")
    if "PGHOST" not in os.environ:
        pytest.skip("no Postgres server is named by PGHOST")
    columns = ", ".join(f"{name} {POSTGRES_TYPES[kind]}" for name, kind in INTERACTION_COLUMNS.items())
    tame = interactions(10_000, seed=12, wild=False)
    with psycopg.connect(autocommit=True) as connection:
        connection.execute("SET TimeZone = 'America/New_York'")
        connection.execute(f"CREATE TEMPORARY TABLE interactions ({columns})")
        with connection.cursor() as cursor, cursor.copy("COPY interactions FROM STDIN") as copy:
            for row in tame.to_pylist():
                copy.write_row(tuple(row.values()))
        yield connection, pl.from_arrow(tame)


@pytest.mark.parametrize("name", [*shipped_policies(), *map(str, SEEDS)])
def test_postgres_agrees(name, postgres):
    connection, frame = postgres
    chosen = policy(int(name)) if name.isdigit() else load_policy(shipped_policies()[name])
    microseconds = "(extract(epoch FROM matures_at) * 1000000)::bigint"
    wanted = ", ".join(["draft_id", *DERIVED[:-1], f"{microseconds} AS matures_at"])
    schema = {"draft_id": pl.String, **dict.fromkeys(DERIVED, pl.String), "weight": pl.Float64, "matures_at": pl.Int64}

    def query(text: str) -> pl.DataFrame:
        rows = connection.execute(f"SELECT {wanted} FROM ({text}) AS labelled").fetchall()
        moments = pl.from_epoch("matures_at", time_unit="us").dt.replace_time_zone("UTC")
        return pl.DataFrame(rows, schema=schema, orient="row").with_columns(moments)

    assert_same(by_sql(chosen, "postgres", query), by_polars(chosen, frame), chosen)
