#!/usr/bin/env bash
# Builds the image of the Dockerfile, both of its targets, and tests it (tests/image): `make image-check`.
# Needs root on Debian, and no container engine: mmdebstrap makes a stand-in for the FROM lines, and
# bubblewrap runs the result. Packages come from where this machine's apt and pip find theirs.
set -euo pipefail
cd "$(dirname "$0")/.."

for program in buildah mmdebstrap bwrap; do
  command -v "$program" >/dev/null || {
    echo "$program is missing: apt-get install buildah mmdebstrap bubblewrap" >&2
    exit 1
  }
done

work=$(mktemp -d)
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot XDG_RUNTIME_DIR="$work"
builder() { buildah --root "$work/storage" --runroot "$work/run" "$@"; }
clean() {
  builder umount --all >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap clean EXIT

echo "=== The base"
certificates=/etc/ssl/certs/ca-certificates.crt
mmdebstrap --quiet --variant=minbase --include=python3,python3-venv \
  --customize-hook='ln -s /usr/bin/python3 "$1/usr/local/bin/python"' trixie "$work/base.tar"
base=$(builder from scratch)
builder add --quiet "$base" "$work/base.tar" / >/dev/null
builder commit --quiet "$base" localhost/base >/dev/null
rm "$work/base.tar"

from=$(sed -n 's/^FROM \(python:[^ ]*\) AS build$/\1/p' Dockerfile)
for target in gateway local; do
  echo "=== The image: $target"
  builder build --quiet --layers --format docker --network host --target "$target" \
    --ulimit nofile=20000:20000 --ulimit nproc=90000:90000 \
    --build-context "$from=container-image://localhost/base" \
    --volume "$certificates:$certificates:ro" \
    --build-arg SOURCE_DATE_EPOCH="$(git log -1 --format=%ct)" --tag "localhost/$target" . >/dev/null
  builder inspect --type image "localhost/$target" >"$work/$target.json"
  container=$(builder from --pull-never "localhost/$target")
  ln -s "$(builder mount "$container")" "$work/$target"
done

echo "=== The tests"
IMAGES="$work" "$@"
