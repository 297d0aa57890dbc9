#!/bin/bash
# The user data of a machine. It fetches the software of machines from the customer's bucket, compares it with what the
# portal put there, and starts it. Lines above the first blank one are the portal's, and differ between clusters.
bundle=@BUNDLE@ digest=@DIGEST@ bucket_region=@BUCKET_REGION@
settings=@SETTINGS@

set -euo pipefail
umask 022
opt=${PORTAL_ROOT:-}/opt/portal
mkdir -p "$opt" "${PORTAL_ROOT:-}/var/log"
exec >>"${PORTAL_ROOT:-}/var/log/portal-bootstrap.log" 2>&1
echo "$(date -u +%FT%TZ) Fetching the software of machines"
printf '%s\n' "$settings" >"$opt/node.json"
# The role of the machine and the way out of the subnet may take a while.
for attempt in $(seq "${PORTAL_ATTEMPTS:-60}"); do
  if aws s3 cp --only-show-errors --region "$bucket_region" "$bundle" "$opt/node.tar.gz"; then break; fi
  echo "Attempt $attempt to fetch $bundle failed"
  sleep "${PORTAL_PAUSE:-5}"
done
echo "$digest  $opt/node.tar.gz" | sha256sum --check --quiet
rm -rf "$opt/node.new"
mkdir "$opt/node.new"
tar -xzf "$opt/node.tar.gz" -C "$opt/node.new" --no-same-owner
rm -rf "$opt/node"
mv "$opt/node.new" "$opt/node"
exec /bin/bash "$opt/node/bootstrap.sh"
