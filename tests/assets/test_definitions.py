"""What the Dagster project promises to those who build on it: keys, groups, dependencies, partitions, checks, jobs.

A change here is a change for them. Where it is meant, run `python tests/assets/test_definitions.py` to write it down.
"""

import json
import sys
from pathlib import Path
from typing import Any

from assets.support.stages import STAGES
from pipelines.definitions import defs

SNAPSHOT = Path(__file__).with_name("definitions.json")


def described() -> dict[str, Any]:
    graph = defs.resolve_asset_graph()
    assets = {}
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        spec = node.assets_def.specs_by_key[key]
        partitions = node.partitions_def
        assets[key.to_user_string()] = {
            "group": node.group_name,
            "kinds": sorted(node.kinds),
            "owners": sorted(node.owners),
            "deps": {
                parent.to_user_string(): repr(mapping) if mapping else None
                for parent in sorted(node.parent_keys)
                for mapping in [spec_mapping(spec, parent)]
            },
            "partitions": f"{type(partitions).__name__} in {partitions.timezone}" if partitions else None,
            "backfill": node.backfill_policy.policy_type.name if node.backfill_policy else None,
            "pools": sorted(node.pools or []),
            "described": bool(node.description),
            "columns": [column.name for column in (node.metadata or {})["dagster/column_schema"].columns]
            if "dagster/column_schema" in (node.metadata or {})
            else None,
        }
    checks = {}
    for key in graph.asset_check_keys:
        spec = graph.get_check_spec(key)
        checks[f"{key.asset_key.to_user_string()}.{key.name}"] = {"blocking": spec.blocking, "says": spec.description}
    jobs = {}
    for job in defs.resolve_all_job_defs():
        if not job.name.startswith("__"):
            jobs[job.name] = {
                "assets": sorted(key.to_user_string() for key in job.asset_layer.executable_asset_keys),
                "executor": job.executor_def.name,
            }
    return {
        "assets": dict(sorted(assets.items())),
        "checks": dict(sorted(checks.items())),
        "jobs": dict(sorted(jobs.items())),
        "schedules": {
            item.name: {"cron": item.cron_schedule, "timezone": item.execution_timezone, "job": item.job_name}
            for item in defs.schedules or []
        },
        "sensors": {
            item.name: {"job": item.job_name, "every": item.minimum_interval_seconds} for item in defs.sensors or []
        },
    }


def spec_mapping(spec: Any, parent: Any) -> Any:
    return next((dep.partition_mapping for dep in spec.deps if dep.asset_key == parent), None)


def test_the_definitions_are_what_was_written_down() -> None:
    assert described() == json.loads(SNAPSHOT.read_text())


def test_every_asset_is_a_stage_with_a_description_owner_kind_and_group() -> None:
    assets = described()["assets"]
    assert set(assets) == set(STAGES)
    for name, asset in assets.items():
        assert asset["described"] and asset["owners"] and asset["kinds"] and asset["group"] != "default", name


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(described(), indent=2) + "\n")
    sys.stdout.write(f"wrote {SNAPSHOT}\n")
