#!/bin/sh
# Removes from the registry what nothing names: docs/reference.md, "What goes by itself". Runs where the
# registry's files are, while the registry is read-only, and reads on standard input the YAML of
#   kubectl get modeldeployments,controllerrevisions,deployments,jobs --all-namespaces --output yaml
# An artifact goes where none of these objects names its digest and it was pushed more than KEEP_DAYS ago.
set -eu

root=${REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY:-/var/lib/registry}
config=${1:-/etc/distribution/config.yml}
days=${KEEP_DAYS:-7}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

grep -o -e 'sha256:[0-9a-f]\{64\}' -e '^kind: List$' | sort -u >"$work/named"
if ! grep -q '^kind: List$' "$work/named"; then # it comes after all objects: what is cut off lacks it
    echo "standard input: is no whole list of objects; nothing is removed" >&2
    exit 65
fi

cd "$root/docker/registry/v2/repositories"
find . -path '*/_manifests/revisions/sha256/*/link' >"$work/links"
while read -r link; do
    digest=$(cat "$link")
    manifests=${link%/revisions/sha256/*}
    tag=$manifests/tags/artifact-${digest#sha256:}
    if grep -q "$digest" "$work/named"; then # its tag may be missing, or moved by whoever reaches the registry
        mkdir -p "$tag/current" "$tag/index/sha256/${digest#sha256:}"
        printf %s "$digest" >"$tag/current/link"
        printf %s "$digest" >"$tag/index/sha256/${digest#sha256:}/link"
    elif [ -n "$(find "$link" -mmin "+$((days * 1440))")" ]; then
        find "$manifests/tags" -path '*/current/link' -exec grep -l "$digest" {} + | while read -r current; do
            rm -r "${current%/current/link}"
        done
        echo "removed $digest from ${manifests%/_manifests}"
    fi
done <"$work/links"

registry garbage-collect --delete-untagged "$config"
