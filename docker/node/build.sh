#!/bin/sh
# Make the node image of a kind cluster, where no container registry answers. A line that begins with == names a
# stage.
#
#     docker/node/programs/build.sh FOLDER
#     docker/node/build.sh FOLDER [IMAGE] [BASE]
#
# Needs docker with buildx, and a mirror of Debian.
set -eu
image=${2:-kindest/node:v1.34.4}
base=${3:-debian:bookworm-slim}
programs=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
# buildx and kind leave files behind, of hundreds of megabytes.
export TMPDIR="$work"
# Of this run alone: another may go on beside it.
ours=devenv-node-$$
targets="kube coredns kindnetd pause local-path-helper local-path-provisioner"
clean() {
    rm -rf "$work"
    # Where kind is interrupted, the container that it works in stays. By its name and image as written: the filter
    # `ancestor` also finds the nodes of every cluster.
    docker container ls --all --filter name=^kind-build- --format '{{.ID}} {{.Image}}' |
        sed -n "s|^\([^ ]*\) $ours/base:latest$|\1|p" | xargs -r docker container rm --force >/dev/null 2>&1 || :
    for target in base $targets; do
        docker image rm "$ours/$target" >/dev/null 2>&1 || :
    done
}
trap clean EXIT
trap 'exit 130' INT TERM

build() {
    docker buildx build --quiet --load --provenance=false --file "$here/Dockerfile" --build-arg "BASE=$base" \
        --target "$1" --tag "$ours/$1" "$programs" >/dev/null
}

# The images of these targets as an archive, under the names that are looked for. kind reads names from whichever
# of manifest.json and `repositories` comes first, and of the former only its first image: so `repositories` first.
pack() {
    archive=$1
    shift
    rm -rf "$work/archive"
    mkdir "$work/archive"
    docker image save --output "$work/saved" $(printf "$ours/%s " "$@")
    tar -C "$work/archive" -xf "$work/saved"
    rm -f "$work/saved" "$work/archive/index.json" "$work/archive/oci-layout" "$work/archive/repositories"
    for target; do
        names=$(sed -n "s|^$target \(.*\)|\"\1\"|p" "$programs/images" | paste -sd, -)
        sed -i "s|\"[a-z./]*$ours/$target:latest\"|$names|" "$work/archive/manifest.json"
        sed -n "s|^$target \(.*\):\([^:]*\)$|\"\1\":{\"\2\":\"\"}|p" "$programs/images"
    done | paste -sd, - | sed 's/.*/{&}/' > "$work/repositories"
    tar -cf "$archive" -C "$work" repositories -C "$work/archive" .
}

echo "== the node's system, of Debian's packages"
build base

echo "== the images that a cluster starts"
for target in $targets; do
    build "$target"
done
# As in a release of Kubernetes: kind wants four archives, and reads them at the same time. Any image may be in
# any of them, but no two archives may hold the same one.
server=$work/kubernetes/server/bin
mkdir -p "$server"
pack "$server/kube-apiserver.tar" kube coredns kindnetd
pack "$server/kube-controller-manager.tar" pause
pack "$server/kube-scheduler.tar" local-path-helper
pack "$server/kube-proxy.tar" local-path-provisioner
for program in kubeadm kubelet kubectl; do
    printf '#!/bin/sh\nexec /usr/local/bin/kube %s "$@"\n' "$program" > "$server/$program"
done
cp "$programs/version" "$work/kubernetes/version"
tar -C "$work" -cf - kubernetes | gzip -1 > "$work/kubernetes.tar.gz"
rm -rf "$work/kubernetes" "$work/archive"

echo "== $image"
"$programs/kind" build node-image --type file "$work/kubernetes.tar.gz" --base-image "$ours/base:latest" \
    --image "$image"
