package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

const (
	network     = "/etc/cni/net.d/10-kindnet.conflist"
	networkJSON = `{
  "cniVersion": "0.3.1",
  "name": "kindnet",
  "plugins": [
    {
      "type": "ptp",
      "ipMasq": true,
      "mtu": %d,
      "ipam": {
        "type": "host-local",
        "dataDir": "/run/cni-ipam-state",
        "routes": [{"dst": "0.0.0.0/0"}],
        "ranges": [[{"subnet": %q}]]
      }
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
`
)

// kindnetd stands in for kind's own, which is not published as a Go module. For an IPv4 cluster it does the
// same: it writes the node's CNI configuration, with the node's own range of pod addresses, and keeps a route
// to the pods of every other node. The ptp plugin masquerades. NetworkPolicy is not enforced.
func kindnetd() {
	config, err := rest.InClusterConfig()
	if err != nil {
		log.Fatal(err)
	}
	// kind names the control plane's own address, which answers before kube-proxy is there.
	if endpoint := os.Getenv("CONTROL_PLANE_ENDPOINT"); endpoint != "" {
		config.Host = "https://" + endpoint
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		log.Fatal(err)
	}
	written := ""
	for {
		delay := 5 * time.Second
		nodes, err := client.CoreV1().Nodes().List(context.Background(), metav1.ListOptions{ResourceVersion: "0"})
		if err != nil {
			log.Print(err)
			nodes = &corev1.NodeList{}
			delay = time.Second
		}
		for _, node := range nodes.Items {
			address, pods := internalIP(node), node.Spec.PodCIDR
			if address == "" || pods == "" {
				delay = time.Second
			} else if address != os.Getenv("HOST_IP") {
				if err := route(pods, address); err != nil {
					log.Printf("no route to %s through %s: %v", pods, address, err)
				}
			} else if wanted := fmt.Sprintf(networkJSON, mtu(address), pods); wanted != written {
				if err := replace(network, wanted); err != nil {
					log.Print(err)
				} else {
					log.Printf("wrote %s for %s", network, pods)
					written = wanted
				}
			}
		}
		time.Sleep(delay)
	}
}

func internalIP(node corev1.Node) string {
	for _, address := range node.Status.Addresses {
		if address.Type == corev1.NodeInternalIP {
			return address.Address
		}
	}
	return ""
}

func route(pods, gateway string) error {
	_, destination, err := net.ParseCIDR(pods)
	if err != nil {
		return err
	}
	return netlink.RouteReplace(&netlink.Route{Dst: destination, Gw: net.ParseIP(gateway)})
}

// mtu is that of the interface which has the address.
func mtu(address string) int {
	links, _ := netlink.LinkList()
	for _, link := range links {
		found, _ := netlink.AddrList(link, netlink.FAMILY_V4)
		for _, one := range found {
			if one.IP.String() == address {
				return link.Attrs().MTU
			}
		}
	}
	return 1500
}

// replace writes a file so that nobody ever reads a half of it.
func replace(path, text string) error {
	if err := os.WriteFile(path+".new", []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
