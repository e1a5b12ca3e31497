# Run while an image is built: installs what uv's arguments name into /opt/modelpress, without what no run needs,
# and compiles the rest. Byte code is not compared with its source at each import (unchecked-hash): an image's files
# never change, but copies between layers may change their times.
set -eu
/tools/bin/uv pip install --no-deps --no-build "$@"
packages=$(echo /opt/modelpress/lib/python3*/site-packages)
cd "$packages"
# Sources, headers and static libraries for compilers, and what compiles for phones; tests; a second, asynchronous
# client of Kubernetes.
find . \( -name '*.a' -o -name '*.h' -o -name '*.hpp' -o -name '*.cc' -o -name '*.cpp' -o -name '*.inc' \) -delete
rm -rf tensorflow/include kubernetes/aio ai_edge_litert/tools/apply_plugin_main ai_edge_litert/vendors
for package in numpy scipy; do
  [ ! -d $package ] || find $package -depth -type d -name tests -exec rm -rf {} +
done
# uv's own: a lock that all may write, and the time of the build.
rm -f /opt/modelpress/.lock
find . -name uv_cache.json -delete -o -name RECORD -exec sed -i '/uv_cache.json,/d' {} +
/opt/modelpress/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash "$packages"
find /opt/modelpress -exec touch -h -d @315532800 {} + # one date, as images.sh has: the same layer again
