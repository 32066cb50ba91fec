#!/bin/sh
# One run of the shop for cron, which mails what is printed: nothing when it is green, all when not.
#   */15 * * * *  SOURCE=... sh /srv/classicmodels/orchestration/systemd/cron.sh
# It waits for another run into the same warehouse: 600 seconds, or WAIT.
set -u
cd "$(dirname "$0")/../.." || exit 1
WAIT=${WAIT:-600}
export WAIT
said=$(mktemp) || exit 1
trap 'rm -f "$said"' EXIT
"${VENV:-.venv}/bin/python" scripts/build.py "$@" >"$said" 2>&1
status=$?
[ "$status" -eq 0 ] || cat "$said"
exit "$status"
