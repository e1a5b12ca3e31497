#!/bin/sh
# Build or push images with whatever works here: docker, podman or buildah (`make images`, `make push`).
#   operator/images/images.sh build TARGET [OPTION...]   options go to the engine's build command
#   operator/images/images.sh push TARGET
# Reads ENGINE, BASE, REGISTRY, TAG, REVISION, SOURCE; PLAIN_HTTP=1 pushes without TLS (podman, buildah).
set -eu
cd "$(dirname "$0")/../.."

works() { command -v "$1" >/dev/null && "$1" info >/dev/null 2>&1; }
for candidate in docker podman buildah; do
  [ -n "${ENGINE:-}" ] || ! works $candidate || ENGINE=$candidate
done
[ -n "${ENGINE:-}" ] || { echo "error: none of docker, podman and buildah works here" >&2; exit 69; }

command=$1 target=$2
shift 2
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
image=${REGISTRY:-docker.io}/modelpress/$target:${TAG:-$version}
# One date for every build: the layers of an unchanged lock file stay the same on another machine and next month.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-315532800}
BUILDAH_ISOLATION=${BUILDAH_ISOLATION:-chroot} # runs in a container, without user namespaces
export SOURCE_DATE_EPOCH BUILDAH_ISOLATION

build() {
  revision=${REVISION:-$(git rev-parse HEAD 2>/dev/null || echo unknown)}
  case $ENGINE in docker) set -- "$@" ;; *) set -- --layers --timestamp "$SOURCE_DATE_EPOCH" "$@" ;; esac
  "$ENGINE" build --target "$target" --tag "$image" ${BASE:+--build-arg BASE="$BASE"} \
    --build-arg VERSION="$version" --build-arg REVISION="$revision" --build-arg SOURCE="${SOURCE:-unknown}" "$@" .
  mkdir -p build/sbom
  bill=build/sbom/$target.cdx.json
  case $ENGINE in
    buildah)
      container=$(buildah from --pull-never "$image")
      trap 'buildah rm "$container" >/dev/null' EXIT
      buildah run "$container" -- cat /opt/modelpress/sbom.cdx.json >"$bill" ;;
    *) "$ENGINE" run --rm --entrypoint cat "$image" /opt/modelpress/sbom.cdx.json >"$bill" ;;
  esac
}

push() {
  case $ENGINE in docker) ;; *) [ -z "${PLAIN_HTTP:-}" ] || set -- --tls-verify=false ;; esac
  "$ENGINE" push "$@" "$image"
}

$command "$@"
