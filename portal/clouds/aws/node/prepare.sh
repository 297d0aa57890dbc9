#!/bin/bash
# Makes a machine part of its cluster, as the cluster is now: it waits for the machine's own beginning, writes down who
# belongs to the cluster, and looks whether all of it works. Prints what does not, and ends with a code then.
#
#   prepare.sh GENERATION SECONDS ADDRESS:CORES …     the head first
set -euo pipefail
umask 022
root=${PORTAL_ROOT:-}
opt=$root/opt/portal
home=$root/home/bodo
generation=$1 deadline=$((SECONDS + $2))
shift 2
boot=$(cat /proc/sys/kernel/random/boot_id)

refuse() {
  echo "$1"
  echo "--- end of /var/log/portal-bootstrap.log"
  tail -n 15 "$root/var/log/portal-bootstrap.log" 2>/dev/null || true
  exit 1
}
setting() {
  python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$opt/node.json" "$1"
}

until [ "$(cat "$opt/ready" 2>/dev/null)" = "$generation $boot" ]; do
  if [ "$(cut -d' ' -f1 "$opt/failed" 2>/dev/null)" = "$boot" ]; then
    refuse "The machine could not be set up: $(cut -d' ' -f2- "$opt/failed")"
  fi
  if [ "$SECONDS" -ge "$deadline" ]; then refuse "The machine was not set up in time"; fi
  sleep "${PORTAL_PAUSE:-3}"
done

mountpoint -q "$root/bodofs" || refuse "The shared filesystem is not mounted"
release=$(setting release)
"$root/opt/bodo/$release/bin/python" -c 'import importlib.metadata as m, sys; sys.exit(m.version("bodo") != sys.argv[1])' \
  "$release" || refuse "Bodo $release is not there"

exec 9>"$opt/prepare.lock"
flock 9
printf '%s\n' "$@" >"$home/hostfile.new"
index=0
for each in "$@"; do
  printf 'Host node-%s\n  HostName %s\n' "$index" "${each%:*}"
  index=$((index + 1))
done >"$home/.ssh/config.new"
# A line of its own for all of them comes last: ssh takes the first that fits.
printf '%s\n' 'Host *' '  User bodo' '  IdentityFile ~/.ssh/id_ed25519' '  StrictHostKeyChecking yes' \
  '  HostKeyAlgorithms ssh-ed25519-cert-v01@openssh.com' '  LogLevel ERROR' >>"$home/.ssh/config.new"
chmod 600 "$home/.ssh/config.new"
chown bodo:bodo "$home/hostfile.new" "$home/.ssh/config.new"
mv "$home/.ssh/config.new" "$home/.ssh/config"
mv "$home/hostfile.new" "$home/hostfile"

# The head reaches all of them, itself too: mpiexec starts every rank by ssh.
if [[ " $(hostname -I) " != *" ${1%:*} "* ]]; then exit 0; fi
for each in "$@"; do
  until said=$(runuser -u bodo -- ssh -o BatchMode=yes -o ConnectTimeout=5 "${each%:*}" true 2>&1 9>&-); do
    if [ "$SECONDS" -ge "$deadline" ]; then refuse "The head does not reach ${each%:*} by ssh: $said"; fi
    sleep "${PORTAL_PAUSE:-3}"
  done
done
