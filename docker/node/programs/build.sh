#!/bin/sh
# Compile what a kind node needs and Debian does not package. A line that begins with == names a stage.
#
#     docker/node/programs/build.sh FOLDER
#
# Needs Go 1.24 (GO names it) and the Go module proxy, and nothing else: 6 to 7 minutes on 2 cores. FOLDER is
# then all that docker/node/build.sh needs; the same sources give the same bytes.
set -eu
mkdir -p "$1"
out=$(cd "$1" && pwd)
cd "$(dirname "$0")"
go=${GO:-go}
kubernetes=v1.34.4
# Nothing but what is named here: no other release of Go is fetched, no C compiler is needed.
export GOTOOLCHAIN=local GOFLAGS=-buildvcs=false CGO_ENABLED=0

echo "== download Go modules"
"$go" mod download
kind=$("$go" list -m -f '{{.Dir}}' sigs.k8s.io/kind)

echo "== compile kind"
"$go" build -trimpath -ldflags '-s -w' -o "$out/" sigs.k8s.io/kind ./pause

echo "== compile Kubernetes $kubernetes, etcd, CoreDNS"
version=k8s.io/component-base/version
"$go" build -trimpath -o "$out/kube" -ldflags "-s -w \
    -X $version.gitVersion=$kubernetes -X $version.gitMajor=1 -X $version.gitMinor=34 \
    -X $version.gitCommit=$kubernetes -X $version.gitTreeState=clean -X $version.buildDate=2026-01-01T00:00:00Z" .
ln -sf kube "$out/kubectl"

echo "== compile the storage provisioner"
"$go" build -trimpath -ldflags '-s -w' -o "$out/" github.com/rancher/local-path-provisioner

echo "== take over kind's files"
# What makes a node of a root file system.
rm -rf "$out/files"
cp -R "$kind/images/base/files" "$out/files"
chmod -R u+w "$out/files"
# The images that kubeadm and kind look for in a node, each behind the one that it is a name of.
named() { sed -n "s/^ *\(const \)*$1 = \"\(.*\)\"/\2/p" "$kind/$2"; }
{
    for image in $("$out/kube" kubeadm config images list --kubernetes-version "$kubernetes"); do
        case $image in
        */pause:*) ;;
        */coredns:*) echo "coredns $image" ;;
        *) echo "kube $image" ;;
        esac
    done
    echo "pause $(named sandbox_image images/base/files/etc/containerd/config.toml)"
    echo "kindnetd $(named kindnetdImage pkg/build/nodeimage/const_cni.go)"
    echo "local-path-provisioner $(named storageProvisionerImage pkg/build/nodeimage/const_storage.go)"
    echo "local-path-helper $(named storageHelperImage pkg/build/nodeimage/const_storage.go)"
} > "$out/images"
echo "$kubernetes" > "$out/version"
