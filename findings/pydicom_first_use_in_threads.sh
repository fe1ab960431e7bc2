#!/usr/bin/env bash
# Threads that use different parts of pydicom for the first time get halves of its modules.
#
# Versions: pydicom 3.0.2, Python 3.11
# A guess:  an import in a function is safe in a thread: Python locks each module while it is loaded.
# Happens:  `from pydicom.charset import …` does not wait for the thread that is loading `pydicom` itself, and pydicom's modules import
#           each other in circles: to avoid a deadlock, Python hands out what is half loaded. The result is an ImportError ("partially
#           initialized module"), a KeyError or a _DeadlockError. `from pydicom import charset` waits, for it names the package first.
# Matters:  a service that loads pydicom when a request needs it, or resumes several jobs at once when it starts, fails on its first files
#           and never again: an import ends in an error, a de-identification counts an instance as broken. The busier the machine, the
#           likelier. Name the package, never its modules, in the functions of threads.
# Source:   importlib/_bootstrap.py _find_and_load_unlocked (a parent that is in sys.modules counts as loaded), pydicom/charset.py,
#           pydicom/uid.py, pydicom/pixels/utils.py.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pydicom==3.0.2
cat > "$folder/first_use.py" <<'PYTHON'
"""Use three parts of pydicom in as many threads; exit with 1 if one of them cannot be loaded."""

import sys
import threading

sys.setswitchinterval(1e-5)  # as on a busy machine
uses = {
    "modules": ["from pydicom.charset import convert_encodings", "from pydicom.datadict import dictionary_VR", "from pydicom.uid import UID"],
    "package": ["from pydicom import charset", "from pydicom import datadict", "from pydicom import uid"],
}
failed = []
threading.excepthook = lambda arguments: failed.append(arguments.exc_type)
threads = [threading.Thread(target=exec, args=(use,)) for use in uses[sys.argv[1]]]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
sys.exit(len(failed) > 0)
PYTHON
declare -A failed=([modules]=0 [package]=0)
for _ in $(seq 20); do
    for way in modules package; do
        "$folder/venv/bin/python" "$folder/first_use.py" "$way" || failed[$way]=$((failed[$way] + 1))
    done
done
if ((failed[modules] == 0 || failed[package] > 0)); then
    echo "not as recorded: ${failed[modules]} of 20 by modules, ${failed[package]} of 20 by the package" >&2
    exit 1
fi
echo "seen: of 20 processes whose threads import from pydicom's modules, some fail (here ${failed[modules]}); of 20 that name the package, none"
