# Run while an image is built: installs what uv's arguments name into /opt/modelpress and compiles it.
# Byte code is never compared with its source at run time (unchecked-hash): the files of an image do not change,
# but copies between layers may change their times.
set -eu
/tools/bin/uv pip install --no-deps "$@"
packages=$(echo /opt/modelpress/lib/python3*/site-packages)
/opt/modelpress/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash "$packages"
