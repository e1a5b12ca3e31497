# Run while an image is built: installs what uv's arguments name into /opt/modelpress, without what no run needs,
# and compiles the rest. Byte code is not compared with its source at each import (unchecked-hash): an image's files
# never change, but copies between layers may change their times.
set -eu
/tools/bin/uv pip install --no-deps --no-build "$@"
packages=$(echo /opt/modelpress/lib/python3*/site-packages)
cd "$packages"
# Headers and static libraries for compilers; a second, asynchronous client of Kubernetes; tests of packages.
rm -rf tensorflow/include tensorflow/xla_aot_runtime_src nvidia/*/include numpy/_core/include kubernetes/aio
find . -name '*.a' -delete
for package in numpy scipy; do
  [ ! -d $package ] || find $package -depth -type d -name tests -exec rm -rf {} +
done
rm -f /opt/modelpress/.lock modelpress-*.dist-info/uv_cache.json # uv's own: a lock, and the time of the build
/opt/modelpress/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash "$packages"
find /opt/modelpress -exec touch -h -d @315532800 {} + # one date, as images.sh has: the same layer again
