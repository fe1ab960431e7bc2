#!/usr/bin/env bash
# An event that a watcher's trigger sends just after the DAG file was edited is dropped, and taken for stored.
#
# Versions: apache-airflow-core 3.3.2, apache-airflow-task-sdk 1.3.2, apache-airflow-providers-standard 1.21.0
# A guess:  when Trigger.submit_event returns, the event is in the database: the triggerer then confirms it, and a shared stream has its
#           producer acknowledge the message at the broker ("every TriggerEvent … has been confirmed persisted").
# Happens:  once an asset has another watcher, the old trigger still runs for a second or two, more on a busy machine. What it sends is
#           stored nowhere, without an exception or a line in the log, and counts as persisted.
# Matters:  messages of a queue that arrive while an argument of the watcher is changed are acknowledged, and start nothing: files that
#           arrived are never imported. Acknowledge some seconds later, and not at all if the trigger ends meanwhile.
# Source:   airflow/models/trigger.py submit_event (a trigger without assets, or that is gone), airflow/jobs/triggerer_job_runner.py
#           handle_events, airflow/triggers/shared_stream.py.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check apache-airflow-core==3.3.2 apache-airflow-task-sdk==1.3.2 \
    apache-airflow-providers-standard==1.21.0
export PATH="$folder/venv/bin:$PATH" AIRFLOW_HOME="$folder/airflow" AIRFLOW__CORE__LOAD_EXAMPLES=false AIRFLOW__LOGGING__LOGGING_LEVEL=ERROR
export AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION=false
mkdir -p "$AIRFLOW_HOME/dags"
write() {
    cat > "$AIRFLOW_HOME/dags/example.py" <<PYTHON
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.triggers.file import FileDeleteTrigger
from airflow.sdk import DAG, Asset, AssetWatcher

watcher = AssetWatcher(name="watcher", trigger=FileDeleteTrigger(filepath="$1"))
with DAG("example", schedule=[Asset("arrivals", watchers=[watcher])]):
    EmptyOperator(task_id="load")
PYTHON
    airflow dags reserialize &>>"$folder/log"
}
cat > "$folder/send.py" <<'PYTHON'
"""Send an event by the oldest trigger, as the triggerer does; print how many events the asset has."""

from airflow.models.asset import AssetEvent
from airflow.models.trigger import Trigger
from airflow.triggers.base import TriggerEvent
from airflow.utils.session import create_session
from sqlalchemy import func, select

with create_session() as session:
    oldest = session.scalar(select(func.min(Trigger.id)))
Trigger.submit_event(oldest, TriggerEvent("arrived"))
with create_session() as session:
    print(session.scalar(select(func.count()).select_from(AssetEvent)), "of trigger", oldest)
PYTHON
airflow db migrate &>"$folder/log"
write before
python "$folder/send.py" &>>"$folder/log"
before=$(python "$folder/send.py" 2>>"$folder/log" | tail -1)
write after
after=$(python "$folder/send.py" 2>>"$folder/log" | tail -1)
if [[ $before != '2 of trigger 1' || $after != '2 of trigger 1' ]]; then
    tail -5 "$folder/log" >&2
    echo "not as recorded: '$before', '$after'" >&2
    exit 1
fi
echo "seen: two events are stored before the edit; the next one of the same trigger, after it, is neither stored nor refused"
