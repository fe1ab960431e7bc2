#!/usr/bin/env bash
# Of Google's provider, BigQuery's check operators ask the real service where an emulator is set.
#
# Versions: apache-airflow-providers-google 22.8.0, apache-airflow-core 3.3.2
# A guess:  with BIGQUERY_EMULATOR_HOST set, BigQueryCheckOperator asks the emulator, as BigQueryInsertJobOperator does.
# Happens:  the hook's get_client() is pointed at the emulator; its get_conn(), which BigQueryCheckOperator, BigQueryValueCheckOperator and
#           BigQueryIntervalCheckOperator use, is a client of google-api-python-client, which reads no such variable: its base URL is
#           https://bigquery.googleapis.com/bigquery/v2/.
# Matters:  in a test that believes to be local, a check sends its SQL and the connection's token to Google, and is billed if they are
#           good there.
# Source:   airflow/providers/google/cloud/hooks/bigquery.py get_conn (build("bigquery", "v2", …)) and get_client.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check apache-airflow-core==3.3.2 apache-airflow-task-sdk==1.3.2 \
    apache-airflow-providers-google==22.8.0
export AIRFLOW_HOME="$folder/airflow" BIGQUERY_EMULATOR_HOST=http://127.0.0.1:9
export AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT='{"conn_type": "google_cloud_platform", "extra": {"is_anonymous": true, "project": "demo"}}'
cat > "$folder/look.py" <<'PYTHON'
"""Print where each client of the hook would send its requests; nothing is sent."""

from airflow.providers.google.cloud.hooks.bigquery import BigQueryHook

hook = BigQueryHook(use_legacy_sql=False)
print(hook.get_client(project_id="demo")._connection.API_BASE_URL, hook.get_conn()._kwargs["service"]._baseUrl)
PYTHON
seen=$("$folder/venv/bin/python" "$folder/look.py" 2>"$folder/log" | tail -1)
if [ "$seen" != "http://127.0.0.1:9 https://bigquery.googleapis.com/bigquery/v2/" ]; then
    tail -3 "$folder/log" >&2
    echo "not as recorded: $seen" >&2
    exit 1
fi
echo "seen: get_client() goes to ${seen% *}, get_conn() to ${seen#* }"
