"""Print the DAG's tasks as JSON, as Airflow sees them; the tests run it in Airflow's environment.

python deploy/airflow/describe.py
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from fma_genres_dag import dag

described = {
    one.task_id: {
        "operator": type(one).__name__,
        "after": sorted(one.upstream_task_ids),
        "rule": str(getattr(one.trigger_rule, "value", one.trigger_rule)),
        "retries": one.retries,
        "build": getattr(one, "build", None),
    }
    for one in dag.tasks
}
json.dump(described, sys.stdout)
