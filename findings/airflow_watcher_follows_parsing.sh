#!/usr/bin/env bash
# The switch that pauses a DAG neither starts nor stops what watches for it; the next parsing of its file does.
#
# Versions: apache-airflow-core 3.3.2, apache-airflow-task-sdk 1.3.2, apache-airflow-providers-standard 1.21.0
# A guess:  a DAG that is scheduled by an asset with a watcher begins to watch when it is switched on, and stops when it is switched off.
# Happens:  the watcher's trigger is made, and removed, when the DAG's file is parsed and written to the database the next time: half a
#           minute later by default, and longer where [dag_processor] min_file_process_interval says so.
# Matters:  who switches such a DAG on and sends the first message sees nothing happen for that long; a paused DAG goes on pulling
#           messages, whose events start a run when it is switched on again. To begin at once, change the file's time.
# Source:   airflow/dag_processing/collection.py add_asset_trigger_references (called when DAGs are written), _find_active_assets.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check apache-airflow-core==3.3.2 apache-airflow-task-sdk==1.3.2 \
    apache-airflow-providers-standard==1.21.0
export PATH="$folder/venv/bin:$PATH" AIRFLOW_HOME="$folder/airflow" AIRFLOW__CORE__LOAD_EXAMPLES=false AIRFLOW__LOGGING__LOGGING_LEVEL=ERROR
mkdir -p "$AIRFLOW_HOME/dags"
cat > "$AIRFLOW_HOME/dags/example.py" <<'PYTHON'
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.triggers.file import FileDeleteTrigger
from airflow.sdk import DAG, Asset, AssetWatcher

watcher = AssetWatcher(name="watcher", trigger=FileDeleteTrigger(filepath="/tmp/arrived"))
with DAG("example", schedule=[Asset("arrivals", watchers=[watcher])]):
    EmptyOperator(task_id="load")
PYTHON
cat > "$folder/triggers.py" <<'PYTHON'
"""Print how many assets have a trigger that watches for them."""

from airflow.models.asset import AssetModel
from airflow.utils.session import create_session
from sqlalchemy import func, select

with create_session() as session:
    print(session.scalar(select(func.count()).select_from(AssetModel).where(AssetModel.watchers.any())))
PYTHON
watched() { python "$folder/triggers.py" 2>>"$folder/log" | tail -1; }
parse() { airflow dags reserialize &>>"$folder/log"; }
airflow db migrate &>"$folder/log"
parse
seen=$(watched)
airflow dags unpause example &>>"$folder/log"
seen+=" $(watched)"
parse
seen+=" $(watched)"
airflow dags pause example &>>"$folder/log"
seen+=" $(watched)"
parse
seen+=" $(watched)"
if [[ $seen != '0 0 1 1 0' ]]; then
    tail -5 "$folder/log" >&2
    echo "not as recorded: $seen" >&2
    exit 1
fi
echo "seen: switched on, nothing watches until the file is parsed again; switched off, it goes on watching until then"
