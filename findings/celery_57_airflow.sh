#!/usr/bin/env bash
# Airflow's Celery provider allows celery 5.7.0, and cannot be imported with it.
#
# Versions: apache-airflow 3.3.2, apache-airflow-providers-celery 3.26.0, celery 5.7.0 beside 5.6.3
# A guess:  what pip picks by the provider's own bounds, celery>=5.5.0,<6, works: schedulers and workers start.
# Happens:  pip check has no complaint, and the executor's module raises "ImportError: cannot import name 'retry' from
#           'celery.backends.database'". With celery 5.6.3 it is imported.
# Matters:  a cluster that is installed without Airflow's constraints, or whose image is built anew, starts neither schedulers nor workers;
#           DAGs that wait for hours-long operations stand still. Say celery<5.7.
# Source:   airflow/providers/celery/executors/celery_executor_utils.py imports retry, which celery/backends/database/__init__.py no longer has.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip=("$folder/venv/bin/pip" --disable-pip-version-check)
"${pip[@]}" install --quiet apache-airflow==3.3.2 apache-airflow-providers-celery==3.26.0 celery==5.7.0
export AIRFLOW_HOME="$folder/airflow"
look() {
    "${pip[@]}" check | tail -1
    said=$("$folder/venv/bin/python" -c "import airflow.providers.celery.executors.celery_executor" 2>&1) || true
    grep --only-matching "cannot import name '[a-z]*' from '[a-z.]*'" <<<"$said" || echo imported
}
new=$(look)
"${pip[@]}" install --quiet celery==5.6.3
old=$(look)
if [[ $new != "No broken requirements found."*"cannot import name 'retry' from 'celery.backends.database'" || $old != *imported ]]; then
    echo "not as recorded: $new; $old" >&2
    exit 1
fi
echo "seen: celery 5.7.0: ${new//$'\n'/ }; celery 5.6.3: imported"
