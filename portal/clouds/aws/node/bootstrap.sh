#!/bin/bash
# Makes a machine of a cluster: its user, its disks, the shared filesystem, the key of the workspace's machines, Python
# for the portal's scripts, and Bodo. It runs at each boot, and does again only what is missing. What it says is in
# /var/log/portal-bootstrap.log; /opt/portal/ready tells that all is done, /opt/portal/failed what was not.
#
# Amazon Linux 2023 on x86_64. All paths are below PORTAL_ROOT, so that it can be tried on a machine that is none.
set -Eeuo pipefail
umask 022
root=${PORTAL_ROOT:-}
opt=$root/opt/portal
node=$opt/node
home=$root/home/bodo
export LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

mkdir -p "$root/var/log"
exec >>"$root/var/log/portal-bootstrap.log" 2>&1
exec 9>"$opt/bootstrap.lock"
flock 9

boot=$(cat /proc/sys/kernel/random/boot_id)
doing=start
say() {
  doing=$1
  echo "$(date -u +%FT%TZ) $1"
}
failed() {
  echo "$(date -u +%FT%TZ) FAILED at line $1: $doing"
  echo "$boot $doing" >"$opt/failed"
}
trap 'failed $LINENO' ERR
rm -f "$opt/ready" "$opt/failed"

setting() {
  python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$opt/node.json" "$1"
}
again() { # runs a command up to five times: networks of new machines come late
  local attempt
  for attempt in 1 2 3 4; do
    if "$@"; then return 0; fi
    echo "Attempt $attempt failed: $*"
    sleep "${PORTAL_PAUSE:-10}"
  done
  "$@"
}

begin_at_each_boot() {
  # cloud-init runs what is here at each boot, user data at the first one only.
  mkdir -p "$root/var/lib/cloud/scripts/per-boot"
  ln -sfn "$node/bootstrap.sh" "$root/var/lib/cloud/scripts/per-boot/portal"
  chmod 755 "$node/bootstrap.sh" "$node/prepare.sh"
}

install_packages() {
  if [ -e "$opt/packages" ]; then return; fi
  again dnf install --assumeyes --quiet amazon-efs-utils python3.11 python3.11-pip tar gzip xfsprogs
  touch "$opt/packages"
}

add_user() {
  # The image's own user has our number, and nobody's key: machines are reached through Systems Manager alone.
  local other
  other=$(getent passwd 1000 | cut -d: -f1 || true)
  if [ -n "$other" ] && [ "$other" != bodo ]; then userdel --remove "$other"; fi
  if ! id bodo >/dev/null 2>&1; then useradd --uid 1000 --user-group --create-home --shell /bin/bash bodo; fi
  mkdir -p "$home"
}

raise_limits() {
  # EFA pins memory, and each rank opens a connection to each other.
  mkdir -p "$root/etc/security/limits.d" "$root/etc/systemd/system/amazon-ssm-agent.service.d"
  printf '%s\n' '* - memlock unlimited' '* - nofile 1048576' >"$root/etc/security/limits.d/portal.conf"
  local agent=$root/etc/systemd/system/amazon-ssm-agent.service.d/portal.conf
  if [ -e "$agent" ]; then return; fi
  printf '%s\n' '[Service]' 'LimitMEMLOCK=infinity' 'LimitNOFILE=1048576' >"$agent"
  systemctl daemon-reload
}

mount_scratch() {
  # Disks of the machine itself are empty after each stop. The first is /scratch, the next /scratch-2 and so on.
  local name disk number=0 place
  local -A seen=()
  for name in "$root"/dev/disk/by-id/nvme-Amazon_EC2_NVMe_Instance_Storage_*; do
    if [ ! -e "$name" ] || [[ $name == *-part* ]]; then continue; fi
    disk=$(readlink -f "$name")
    if [ -n "${seen[$disk]:-}" ]; then continue; fi
    seen[$disk]=1
    number=$((number + 1))
    place=$root/scratch
    if [ "$number" -gt 1 ]; then place=$place-$number; fi
    mkdir -p "$place"
    if mountpoint -q "$place"; then continue; fi
    if ! blkid "$disk" >/dev/null; then mkfs.xfs -q "$disk"; fi
    mount -o noatime "$disk" "$place"
    chown bodo:bodo "$place"
  done
}

mount_files() {
  local place=$root/bodofs
  mkdir -p "$place"
  if mountpoint -q "$place"; then return; fi
  again mount -t efs -o "tls,noresvport,accesspoint=$(setting access_point)" "$(setting filesystem):/" "$place"
}

trust_each_other() {
  # All machines of a workspace have one key. With it they reach each other, and with it each signs the key of its own
  # ssh server: so nobody has to be trusted at first sight, and addresses that come again are no alarm.
  local ssh=$home/.ssh addresses server=$root/etc/ssh
  mkdir -p "$ssh" "$server/sshd_config.d"
  chmod 700 "$ssh"
  (
    umask 077
    again aws ssm get-parameter --region "$(setting region)" --name "$(setting ssh_key)" --with-decryption \
      --query Parameter.Value --output text >"$ssh/id_ed25519.new"
  )
  mv "$ssh/id_ed25519.new" "$ssh/id_ed25519"
  ssh-keygen -y -f "$ssh/id_ed25519" >"$ssh/id_ed25519.pub"
  cp "$ssh/id_ed25519.pub" "$ssh/authorized_keys"
  chmod 600 "$ssh/authorized_keys"
  echo "@cert-authority * $(cat "$ssh/id_ed25519.pub")" >"$ssh/known_hosts"
  if [ ! -e "$server/ssh_host_ed25519_key" ]; then
    ssh-keygen -q -t ed25519 -N '' -f "$server/ssh_host_ed25519_key"
  fi
  addresses=$(hostname -I | tr -s ' ' ',')
  ssh-keygen -q -s "$ssh/id_ed25519" -I machine -h -n "${addresses%,}" "$server/ssh_host_ed25519_key.pub"
  printf '%s\n' "HostCertificate $server/ssh_host_ed25519_key-cert.pub" 'PasswordAuthentication no' \
    'PermitRootLogin no' 'AllowUsers bodo' 'MaxStartups 200:30:400' >"$server/sshd_config.d/10-portal.conf"
  if ! grep -qs '^Include .*sshd_config\.d/' "$server/sshd_config"; then
    printf '%s\n' 'Include /etc/ssh/sshd_config.d/*.conf' | cat - "$server/sshd_config" >"$server/sshd_config.new"
    mv "$server/sshd_config.new" "$server/sshd_config"
  fi
  chown -R bodo:bodo "$home"
  systemctl reload-or-restart sshd
}

make_environment() { # a virtual environment with exactly what a file of requirements says
  local place=$1 requirements=$2
  if [ "$(cat "$place/.made-from" 2>/dev/null)" = "$(sha256sum <"$requirements")" ]; then return; fi
  rm -rf "$place"
  mkdir -p "$(dirname "$place")"
  python3.11 -m venv "$place"
  again "$place/bin/pip" install --quiet --no-cache-dir --require-hashes -r "$requirements"
  sha256sum <"$requirements" >"$place/.made-from"
}

install_efa() {
  if [ "$(setting efa)" != True ] || [ -e "$opt/efa" ]; then return; fi
  local place=$opt/efa-installer
  rm -rf "$place"
  mkdir "$place"
  again curl --fail --silent --show-error --location --output "$place/efa.tar.gz" \
    https://efa-installer.amazonaws.com/aws-efa-installer-latest.tar.gz
  tar -xzf "$place/efa.tar.gz" -C "$place" --strip-components 1
  (cd "$place" && ./efa_installer.sh --yes)
  rm -rf "$place"
  touch "$opt/efa"
}

release=$(setting release)
say "Begin at each boot"
begin_at_each_boot
say "Install packages"
install_packages
say "Add the user"
add_user
say "Raise limits"
raise_limits
say "Mount disks of the machine"
mount_scratch
say "Mount the shared filesystem"
mount_files
say "Fetch the key of the machines"
trust_each_other
say "Make Python for the portal's scripts"
make_environment "$opt/venv" "$node/requirements.txt"
say "Install EFA"
install_efa
say "Install Bodo $release"
make_environment "$root/opt/bodo/$release" "$node/bodo-$release.txt"
say "End what ran before"
# Of runs that were cut off by the end of the machine before, the runner tells how they ended.
"$opt/venv/bin/python" "$node/runner.py" bury || echo "The runner could not; it is tried with the next run"
echo "$(setting generation) $boot" >"$opt/ready"
say "Ready"
