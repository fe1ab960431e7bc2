#!/usr/bin/env bash
# `airflow tasks clear --task-regex` does not take a regular expression.
#
# Versions: apache-airflow-core 3.3.2, apache-airflow-task-sdk 1.3.2
# A guess:  `--task-regex '^load$'` clears the task load and no other; its help says "The regex to filter specific task_ids".
# Happens:  the text is looked for as it is: '^load$' clears nothing and succeeds, and 'load' clears load_all too.
# Matters:  who repeats one import by an anchored pattern believes that it runs again, and nothing does; who leaves the anchors out repeats its
#           neighbours too, each a long-running operation on a DICOM store.
# Source:   airflow/cli/commands/task_command.py task_clear gives the text to partial_subset (airflow/serialization/definitions/dag.py), whose
#           test is `task_ids in t.task_id`; help in airflow/cli/cli_config.py ARG_TASK_REGEX.
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
from airflow.sdk import DAG

with DAG("example", schedule=None):
    EmptyOperator(task_id="load")
    EmptyOperator(task_id="load_all")
PYTHON
airflow db migrate &>"$folder/log"
airflow dags reserialize &>>"$folder/log"
airflow dags test example &>>"$folder/log"

# Before it clears, the command says how many tasks it would clear; "n" declines. Where there are none, it says nothing.
asked() {
    answer=$(echo n | airflow tasks clear --task-regex "$1" example 2>>"$folder/log") || return
    grep --only-matching 'delete these [0-9]* tasks' <<<"$answer" || true
}

help=$(airflow tasks clear --help 2>>"$folder/log" | grep --only-matching 'The regex to filter specific task_ids')
anchored=$(asked '^load$')
plain=$(asked 'load')
if [[ -z $help || -n $anchored || $plain != 'delete these 2 tasks' ]]; then
    echo "not as recorded: '$help', '$anchored', '$plain'" >&2
    exit 1
fi
echo "seen: with ^load\$ no task is asked about, with load: $plain"
